"""Takes out updates of variables that no output depends on, such as the counters of random layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras_trt.trace.graph_view import GraphView, is_control, node_of

UPDATES = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")


def drop_updates(graph_def: Any, outputs: Iterable[str]) -> None:
    """Removes updates of variables and all control edges, which order nothing without them; in place.

    A graph with an output that reads an updated variable is left alone: the next call would give other
    results, so it is no function of its inputs.

    Args:
        graph_def: A graph with constants in the place of variables.
        outputs: Names of the tensors that the graph must still make.
    """
    updates = [node for node in graph_def.node if node.op in UPDATES]
    changed = {node_of(node.input[0]) for node in updates}
    if not updates or changed & GraphView(graph_def).above(outputs):
        return
    for node in graph_def.node:
        node.input[:] = [name for name in node.input if not is_control(name)]
    for node in updates:
        graph_def.node.remove(node)
