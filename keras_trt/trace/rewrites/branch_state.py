"""Updates of variables inside branches and loops: dropped where they change nothing, else noted.

Frozen variables are numbers, and TensorFlow does not read a graph in which one is assigned. What no output
depends on needs no update. Others are held as a `Print` of TensorFlow's, which it reads and never drops,
until it is known which branches stay: a layer that sets itself up with its first batch assigns in the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from keras_trt.trace.graph_view import is_control, node_of
from keras_trt.trace.rewrites.state import UPDATES

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef
    from tensorflow.core.framework.function_pb2 import FunctionDef

_CALLED = {
    "If": ("then_branch", "else_branch"),
    "StatelessIf": ("then_branch", "else_branch"),
    "While": ("cond", "body"),
    "StatelessWhile": ("cond", "body"),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
}
"""The attributes of operators that name functions; before its arguments an `If` takes the condition."""
_Update = tuple[str, str]
"""A function, and its node that updates a variable."""


def hold_updates(graph_def: GraphDef, outputs: Iterable[str]) -> None:
    """Takes the updates out of a graph's functions that no output depends on, and holds the others; in place.

    Args:
        graph_def: A graph with constants in the place of variables.
        outputs: Names of the tensors that the graph must still make.
    """
    functions = _Functions(graph_def)
    if not any(node.op in UPDATES for function in functions.by_name.values() for node in function.node_def):
        return
    nodes = {node.name: node for node in graph_def.node}
    read = functions.above(nodes, outputs)
    lasting = {
        update for name, updates in functions.updated(nodes).items() if name in read for update in updates
    }
    for function in functions.by_name.values():
        for node in [node for node in function.node_def if node.op in UPDATES]:
            if (function.signature.name, node.name) in lasting:
                _hold(node)
            else:
                _remove(function, node)


def held(graph_def: GraphDef) -> list[str]:
    """The names of held updates in a graph, its functions not looked into."""
    return [node.name for node in graph_def.node if _is_held(node)]


def held_within(graph_def: GraphDef) -> list[str]:
    """The names of a graph's nodes that call functions with held updates."""
    functions = _Functions(graph_def)
    return [
        node.name
        for node in graph_def.node
        if any(
            _is_held(inner) for name in functions.called([node]) for inner in functions.by_name[name].node_def
        )
    ]


def _is_held(node: NodeDef) -> bool:
    return node.op == "Print" and node.attr["message"].s.decode() in UPDATES


def _hold(node: NodeDef) -> None:
    dtype, operator = node.attr["dtype"].type, node.op
    node.op = "Print"
    node.attr.clear()
    node.attr["T"].type = dtype
    node.attr["U"].list.type.append(dtype)
    node.attr["message"].s = operator.encode()


def _remove(function: FunctionDef, node: NodeDef) -> None:
    name = node.name
    function.node_def.remove(node)
    for other in function.node_def:
        other.input[:] = [tensor for tensor in other.input if tensor != f"^{name}"]
    for output in [output for output, source in function.control_ret.items() if source == name]:
        del function.control_ret[output]
        function.signature.control_output.remove(output)


class _Functions:
    """The functions of a graph: what their results depend on, and which of their arguments they update."""

    def __init__(self, graph_def: GraphDef) -> None:
        self.by_name = {function.signature.name: function for function in graph_def.library.function}

    def called(self, nodes: Iterable[NodeDef]) -> set[str]:
        """The names of the functions that nodes call, and those call in turn."""
        names: set[str] = set()
        stack = [function for node in nodes for function in self._of(node)]
        while stack:
            name = stack.pop()
            if name not in names:
                names.add(name)
                stack += [function for node in self.by_name[name].node_def for function in self._of(node)]
        return names

    def above(self, nodes: dict[str, NodeDef], tensors: Iterable[str]) -> set[str]:
        """The names of the nodes and arguments on whose values tensors depend, their makers included."""
        reached: set[str] = set()
        stack = [node_of(tensor) for tensor in tensors]
        while stack:
            name = stack.pop()
            if name not in reached:
                reached.add(name)
                stack += [node_of(tensor) for tensor in self._read(nodes[name])] if name in nodes else []
        return reached

    def updated(self, nodes: dict[str, NodeDef]) -> dict[str, set[_Update]]:
        """The updates inside called functions, by the node or argument that stands for the variable."""
        by_variable: dict[str, set[_Update]] = defaultdict(set)
        for node in nodes.values():
            inputs = _arguments(node)
            for function in self._of(node):
                for position, updates in self.updates_of(function).items():
                    by_variable[_source(nodes, inputs[position])] |= updates
        return by_variable

    def updates_of(self, name: str) -> dict[int, set[_Update]]:
        """The updates that a function makes, by the position of its argument."""
        function = self.by_name[name]
        nodes = {node.name: node for node in function.node_def}
        by_variable = self.updated(nodes)
        for node in nodes.values():
            if node.op in UPDATES:
                by_variable[_source(nodes, node.input[0])].add((name, node.name))
        arguments = [argument.name for argument in function.signature.input_arg]
        return {
            arguments.index(source): updates for source, updates in by_variable.items() if source in arguments
        }

    def _read(self, node: NodeDef) -> Iterator[str]:
        """The inputs that a node's results depend on."""
        inputs = _arguments(node)
        if node.op not in _CALLED:
            yield from inputs
            return
        yield from (tensor for tensor in node.input[: len(_data(node)) - len(inputs)])
        used = set[int]().union(*(self._used(name, loop="While" in node.op) for name in self._of(node)))
        yield from (inputs[position] for position in sorted(used))

    def _used(self, name: str, *, loop: bool) -> set[int]:
        """The positions of the arguments that a function's results depend on.

        What a loop's body hands on as it is counts where something else reads it.
        """
        function = self.by_name[name]
        nodes = {node.name: node for node in function.node_def}
        arguments = [argument.name for argument in function.signature.input_arg]
        results = [function.ret[result.name] for result in function.signature.output_arg]
        if loop and len(results) == len(arguments):
            pairs = zip(arguments, results, strict=True)
            results = [result for argument, result in pairs if _source(nodes, result) != argument]
        read = self.above(nodes, results)
        return {position for position, argument in enumerate(arguments) if argument in read}

    def _of(self, node: NodeDef) -> list[str]:
        names = (node.attr[attribute].func.name for attribute in _CALLED.get(node.op, ()))
        return [name for name in names if name in self.by_name]


def _data(node: NodeDef) -> Sequence[str]:
    return [tensor for tensor in node.input if not is_control(tensor)]


def _arguments(node: NodeDef) -> Sequence[str]:
    """What a node hands to the functions that it calls; all its inputs where it calls none."""
    return _data(node)[1 if node.op in ("If", "StatelessIf") else 0 :]


def _source(nodes: dict[str, NodeDef], tensor: str) -> str:
    """The node or argument behind aliases."""
    name = node_of(tensor)
    while name in nodes and nodes[name].op in ("Identity", "ReadVariableOp"):
        name = node_of(nodes[name].input[0])
    return name
