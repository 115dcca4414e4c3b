"""Gives transposed convolutions the padding that TensorFlow computes, in plain numbers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g


class ExplicitPadsPass(ir.passes.InPlacePass):
    """Writes `pads` and `output_padding` of a `ConvTranspose`.

    1. Where only `output_shape` says how large the output is: ONNX lets an odd padding begin with the larger
       half, TensorFlow with the smaller one, and OpenVINO 2026.4 pads at the end only.
    2. Where tf2onnx wrote negative pads, because the kernel is smaller than the stride: ONNX has none. This
       must come before shapes are inferred, which such pads stop.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in model.graph:
            if node.op_type == "ConvTranspose":
                totals = _totals(node)
                if totals is not None:
                    _write(node, np.asarray(totals))
                    modified = True
        return ir.passes.PassResult(model, modified)


def _totals(node: ir.Node) -> list[int] | None:
    """How much each spatial axis is padded in all, negative where the output is larger than the windows."""
    sizes, kernel = g.ints(node, "output_shape"), g.ints(node, "kernel_shape")
    if sizes is None:
        begin, end = np.split(np.array(g.ints(node, "pads", [0, 0])), 2)
        return [int(n) for n in begin + end] if min(*begin, *end) < 0 else None
    shape = node.inputs[0].shape
    given = None if shape is None else list(shape)[2:]
    if kernel is None or given is None or not all(isinstance(n, int) for n in given):
        return None
    ones = [1] * len(kernel)
    strides, dilations = g.ints(node, "strides", ones) or ones, g.ints(node, "dilations", ones) or ones
    wanted = sizes[-len(kernel) :]
    return [
        (int(n) - 1) * stride + (k - 1) * dilation + 1 - size
        for n, stride, k, dilation, size in zip(given, strides, kernel, dilations, wanted, strict=True)
    ]


def _write(node: ir.Node, totals: np.ndarray) -> None:
    padded = np.maximum(totals, 0)
    begin = padded // 2
    node.attributes["pads"] = ir.AttrInt64s("pads", [*map(int, begin), *map(int, padded - begin)])
    if totals.min() < 0:
        missing = [int(n) for n in np.maximum(-totals, 0)]
        node.attributes["output_padding"] = ir.AttrInt64s("output_padding", missing)
    for name in ("output_shape", "auto_pad"):
        node.attributes.pop(name, None)
