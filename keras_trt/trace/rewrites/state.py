"""Takes out updates of variables that no output depends on, such as the counters of random layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

UPDATES = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")


def drop_updates(graph_def: Any, outputs: Iterable[str]) -> None:
    """Removes updates of variables and all control edges, which order nothing without them; in place.

    A graph with an output that reads an updated variable is left alone: the next call would give other
    results, so it is no function of its inputs.

    Args:
        graph_def: A graph with constants in the place of variables.
        outputs: Names of the tensors that the graph must still make.
    """
    nodes = {node.name: node for node in graph_def.node}
    updates = [node for node in graph_def.node if node.op in UPDATES]
    changed = {_name(node.input[0]) for node in updates}
    if not updates or changed & _needed(nodes, outputs):
        return
    for node in graph_def.node:
        node.input[:] = [name for name in node.input if not name.startswith("^")]
    for node in updates:
        graph_def.node.remove(node)


def _needed(nodes: dict[str, Any], outputs: Iterable[str]) -> set[str]:
    """The nodes whose values the outputs depend on."""
    stack, seen = [_name(output) for output in outputs], set()
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack += [_name(i) for i in nodes[name].input if not i.startswith("^")]
    return seen


def _name(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]
