"""A `GraphDef` to walk in: which node makes a tensor, which nodes read it, and what lies above it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef


def node_of(tensor: str) -> str:
    """The name of the node that an input names: `x` for `x`, `x:1` and the control edge `^x`."""
    return tensor.lstrip("^").split(":")[0]


def index_of(tensor: str) -> int:
    """Which output of its node an input is: 0 for `x`, 1 for `x:1`."""
    return int(tensor.partition(":")[2] or 0)


def is_control(tensor: str) -> bool:
    """Whether an input is a control edge, which carries no value."""
    return tensor.startswith("^")


class GraphView:
    """The nodes of a graph by name. Made of a graph as it is; nodes added later are not in it.

    Args:
        graph_def: The graph; its functions are not looked into.

    Attributes:
        nodes: Each node by its name.
    """

    def __init__(self, graph_def: GraphDef) -> None:
        self.nodes: dict[str, NodeDef] = {node.name: node for node in graph_def.node}

    def maker(self, tensor: str) -> NodeDef:
        """The node that makes a tensor."""
        return self.nodes[node_of(tensor)]

    @cached_property
    def readers(self) -> dict[str, list[NodeDef]]:
        """The nodes that read what a node makes, by the name of that node; control edges included."""
        by_name: dict[str, list[NodeDef]] = defaultdict(list)
        for node in self.nodes.values():
            for tensor in node.input:
                by_name[node_of(tensor)].append(node)
        return by_name

    def above(
        self,
        tensors: Iterable[str],
        *,
        control: bool = False,
        stop: Callable[[NodeDef], bool] = lambda _: False,
    ) -> set[str]:
        """The names of the nodes on whose values tensors depend, their makers included.

        Args:
            tensors: Where to start.
            control: Whether nodes count that only have to run before.
            stop: Says of a node that neither it nor what is above it counts.
        """
        reached: set[str] = set()
        stack = [node_of(tensor) for tensor in tensors]
        while stack:
            name = stack.pop()
            if name in reached or stop(self.nodes[name]):
                continue
            reached.add(name)
            inputs = self.nodes[name].input
            stack += [node_of(tensor) for tensor in inputs if control or not is_control(tensor)]
        return reached
