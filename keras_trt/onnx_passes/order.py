"""Brings nodes into an order that depends on the graph alone; tf2onnx's differs from run to run."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir


class OrderNodesPass(ir.passes.InPlacePass):
    """Sorts nodes as a walk from the outputs meets them, inputs first; drops those that no output needs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Sorts the main graph and the bodies of its loops and branches."""
        _order(model.graph)
        return ir.passes.PassResult(model, modified=True)


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs inside a loop or branch."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _order(graph: ir.Graph) -> None:
    own = set(graph)
    for node in own:
        for body in bodies(node):
            _order(body)
    ordered: dict[ir.Node, None] = {}
    stack = [(value.producer(), False) for value in reversed(graph.outputs)]
    while stack:
        node, parents_done = stack.pop()
        if node is None or node in ordered or node not in own:
            continue
        if parents_done:
            ordered[node] = None
            continue
        stack.append((node, True))
        stack += [(value.producer(), False) for value in reversed(list(_read_by(node))) if value is not None]
    unused = [node for node in graph if node not in ordered]
    graph.remove(list(ordered))
    graph.remove(unused, safe=True)
    graph.extend(ordered)


def _read_by(node: ir.Node) -> Iterator[ir.Value | None]:
    """The tensors a node reads, those read inside its bodies included."""
    yield from node.inputs
    for body in bodies(node):
        for inner in body:
            yield from _read_by(inner)
        yield from body.outputs
