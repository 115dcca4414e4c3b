from __future__ import annotations

import onnx_ir as ir
import pytest

from keras_trt.onnx_passes.weight_axes import WEIGHTED, input_axis, output_axis


@pytest.mark.parametrize(
    ("op_type", "attributes", "output", "inputs"),
    [
        ("Conv", {}, 0, 1),
        ("ConvTranspose", {}, 1, 0),
        ("MatMul", {}, -1, -2),
        ("Gemm", {}, 1, 0),
        ("Gemm", {"transB": 1}, 0, 1),
    ],
)
def test_the_axes_are_those_of_onnx_s_operators(op_type, attributes, output, inputs):
    node = ir.node(op_type, [ir.val("x"), ir.val("w")], attributes)
    assert op_type in WEIGHTED
    assert (output_axis(node), input_axis(node)) == (output, inputs)
