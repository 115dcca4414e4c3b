"""Keeps the outputs of a graph apart, each under its name."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


class SeparateOutputsPass(ir.passes.InPlacePass):
    """Gives every output a tensor and its name again, where other passes made one of two equal outputs."""

    def __init__(self, names: Iterable[str]) -> None:
        """Names: of the outputs, in order."""
        super().__init__()
        self.names = tuple(names)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Puts an Identity behind a tensor for each further output that it is."""
        outputs = model.graph.outputs
        seen: set[ir.Value] = set()
        for i, name in enumerate(self.names):
            if outputs[i] in seen:
                outputs[i] = _copied(model.graph, outputs[i], name)
            outputs[i].name = name
            seen.add(outputs[i])
        return ir.passes.PassResult(model, modified=True)


def _copied(graph: ir.Graph, value: ir.Value, name: str) -> ir.Value:
    node = ir.node("Identity", [value], name=f"{name}/Identity")
    graph.append(node)
    copy = node.outputs[0]
    copy.shape, copy.type = value.shape, value.type
    return copy
