"""Where ONNX's weighted operators keep their channels: the one table of weight layouts."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

_AXES = {"Conv": (0, 1), "ConvTranspose": (1, 0), "MatMul": (-1, -2), "Gemm": (1, 0)}  # output, input
WEIGHTED = tuple(_AXES)
"""The operators whose second input is a weight."""


def output_axis(node: ir.Node) -> int:
    """The axis of the output channels in the weight of one of `WEIGHTED`."""
    return _axes(node)[0]


def input_axis(node: ir.Node) -> int:
    """The axis of the input channels, along which the 2:4 pattern may run."""
    return _axes(node)[1]


def _axes(node: ir.Node) -> tuple[int, int]:
    output, inputs = _AXES[node.op_type]
    transposed = node.op_type == "Gemm" and g.integer(node, "transB", 0)
    return (inputs, output) if transposed else (output, inputs)
