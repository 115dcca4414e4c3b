"""Convolutions with zeros go, but for those that a quantised layer is."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.onnx_passes.folding.zero_convolutions import ZeroConvolutionsPass
from tests.onnx_tools import GraphBuilder, floats, ops, run


def passed(model, *arguments, **feeds):
    before = run(model, **feeds)
    ZeroConvolutionsPass(*arguments)(model)
    after = run(model, **feeds)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    return ops(model)


def test_a_convolution_with_zeros_is_a_tensor_of_zeros():
    b = GraphBuilder(x=("batch", 2, 8))
    y = b("Conv", "x", np.zeros((3, 2, 3), np.float32))
    assert "Conv" not in passed(b.finish(b("Relu", y)), x=floats(2, 2, 8))


@pytest.mark.parametrize("kernel", [np.eye(3, 2, dtype=np.float32)[..., None], None])
def test_a_convolution_with_numbers_or_a_bias_stays(kernel):
    b = GraphBuilder(x=("batch", 2, 8))
    bias = [] if kernel is not None else [np.ones(3, np.float32)]
    y = b("Conv", "x", np.zeros((3, 2, 1), np.float32) if kernel is None else kernel, *bias)
    assert "Conv" in passed(b.finish(b("Relu", y)), x=floats(2, 2, 8))


@pytest.mark.parametrize("quantized", [None, {"head": 1}])
def test_a_quantised_layer_of_zeros_stays(quantized):
    b = GraphBuilder(x=("batch", 2, 8))
    scale = (np.float32(0.1), np.int8(0))
    x = b("DequantizeLinear", b("QuantizeLinear", "x", *scale), *scale)
    model = b.finish(b("Relu", b("Conv", x, np.zeros((3, 2, 3), np.float32))))
    next(node for node in model.graph if node.op_type == "Conv").name = "head/Conv"
    assert "Conv" in passed(model, ["head"], quantized, x=floats(2, 2, 8))
    assert "Conv" not in passed(model, ["head"], {}, x=floats(2, 2, 8))
