"""Keeps the outputs of a graph apart, each under its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir


class SeparateOutputsPass(ir.passes.InPlacePass):
    """Gives every output a tensor, its name and its shape again.

    Other passes make one of two equal outputs, or of an output and an inner tensor; that one bears the names
    of axes of either.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int | str | None] | None]) -> None:
        """Shapes: of the outputs, by name and in order."""
        super().__init__()
        self.shapes = dict(shapes)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Puts an Identity behind a tensor for each further output that it is."""
        outputs = model.graph.outputs
        seen: set[ir.Value] = set()
        for i, (name, shape) in enumerate(self.shapes.items()):
            if outputs[i] in seen:
                outputs[i] = _copied(model.graph, outputs[i], name)
            outputs[i].name, outputs[i].shape = name, None if shape is None else ir.Shape(shape)
            seen.add(outputs[i])
        return ir.passes.PassResult(model, modified=True)


def _copied(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    node = ir.node("Identity", [value], name=f"{name}/Identity")
    graph.append(node)
    copy = node.outputs[0]
    copy.shape, copy.type = value.shape, value.type
    return copy
