"""Takes out updates of variables that change nothing.

Those are updates of what no output depends on, such as the counters of random layers, and those that write
the same in every call, such as a mask on a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from keras_trt.trace.graph_view import GraphView, is_control, node_of
from keras_trt.trace.rewrites.folding import constant_nodes, evaluate

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef

UPDATES = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
STATE = "/updated_state"
"""How the name of a node ends that stands for an update of its layer's."""


def drop_updates(
    graph_def: GraphDef, outputs: Iterable[str], values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Removes updates of variables and all control edges, which order nothing without them; in place.

    A variable that is assigned the same whatever the inputs are and however often the model is called, as a
    masked kernel is, becomes a constant.

    A graph with an output that reads an updated variable is left alone: the next call would give other
    results, so it is no function of its inputs.

    Args:
        graph_def: A graph with constants in the place of variables.
        outputs: Names of the tensors that the graph must still make.
        values: The values of variables, by the placeholder that stands for each.

    Returns:
        The values, those of variables that are assigned the same in every call as they are from then on.
    """
    updates = [node for node in graph_def.node if node.op in UPDATES]
    settled = _settled(graph_def, updates, values)
    values = {**values, **settled}
    changed = {node_of(node.input[0]) for node in updates} - settled.keys()
    if not updates or changed & GraphView(graph_def).above(outputs):
        return values
    for node in graph_def.node:
        node.input[:] = [name for name in node.input if not is_control(name)]
    for node in updates:
        graph_def.node.remove(node)
    return values


def _settled(
    graph_def: GraphDef, updates: list[NodeDef], values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the variables hold that are assigned the same in every call but the first, whatever the inputs."""
    assigned = {
        node_of(node.input[0]): node_of(node.input[1]) for node in updates if node.op == "AssignVariableOp"
    }
    constant = constant_nodes(graph_def, values) if assigned else set()
    assigned = {name: source for name, source in assigned.items() if name in values and source in constant}
    second = _assigned(graph_def, assigned, first := _assigned(graph_def, assigned, values))
    return {name: second[name] for name in assigned if np.array_equal(first[name], second[name])}


def _assigned(
    graph_def: GraphDef, assigned: dict[str, str], values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The values after a call; NaN where what is assigned is not known."""
    wanted = sorted(set(assigned.values()) - values.keys())
    known = {**values, **evaluate(graph_def, GraphView(graph_def), wanted, values)}
    return {**values, **{name: known.get(source, np.array(np.nan)) for name, source in assigned.items()}}
