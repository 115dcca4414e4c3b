"""Drops a Q/DQ pair that directly follows an equal one: quantising again changes nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g


class DropRepeatedPairsPass(ir.passes.InPlacePass):
    """Rewrites `DQ -> Q` of one scale and zero point to the quantised tensor itself.

    Moving reshapes out from between pairs leaves such chains; OpenVINO 2026.4 computes some of them wrongly.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        dropped = False
        for node in list(model.graph):
            before = (
                g.producer(node.inputs[0], "DequantizeLinear") if node.op_type == "QuantizeLinear" else None
            )
            if before is not None and _same_grid(node, before) and not node.outputs[0].is_graph_output():
                ir.convenience.replace_all_uses_with(node.outputs[0], before.inputs[0])
                model.graph.remove(node, safe=True)
                dropped = True
        return ir.passes.PassResult(model, dropped)


def _same_grid(a: ir.Node, b: ir.Node) -> bool:
    pairs = [(g.constant(x), g.constant(y)) for x, y in zip(a.inputs[1:], b.inputs[1:], strict=False)]
    equal = all(
        x is not None and y is not None and x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs
    )
    return len(a.inputs) == len(b.inputs) and equal and g.integer(a, "axis", 1) == g.integer(b, "axis", 1)
