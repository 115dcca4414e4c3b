"""Batch normalisation disappears into the layer before it, whatever form tf2onnx left it in."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.onnx_passes.folding.fold_affine import FoldAffinePass
from tests.onnx_tools import GraphBuilder, floats, ops, run


def check(model, expected_ops, **feeds):
    before = run(model, **feeds)
    FoldAffinePass()(model)
    assert ops(model) == expected_ops
    after = run(model, **feeds)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-4, atol=1e-5)


def per_channel(n, seed):
    return floats(n, seed=seed).reshape(1, n, 1, 1)


@pytest.mark.parametrize("bias", [True, False])
def test_mul_and_add_after_a_conv_with_or_without_bias(bias):
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Conv", "x", floats(4, 3, 3, 3), *([floats(4)] if bias else []))
    y = b("Add", b("Mul", y, per_channel(4, 1)), per_channel(4, 2))
    check(b.finish(b("Relu", y)), ["Conv", "Relu"], x=floats(2, 3, 8, 8))


def test_sub_and_div_count_as_scale_and_shift():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Div", b("Sub", b("Conv", "x", floats(4, 3, 3, 3)), per_channel(4, 1)), 1 + per_channel(4, 2) ** 2)
    check(b.finish(y), ["Conv"], x=floats(2, 3, 8, 8))


def test_a_depthwise_and_a_transposed_convolution():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Conv", "x", floats(4, 1, 3, 3), group=4)
    y = b("Mul", y, per_channel(4, 1))
    y = b("Add", b("Mul", b("ConvTranspose", y, floats(4, 5, 2, 2)), per_channel(5, 2)), per_channel(5, 3))
    check(b.finish(y), ["Conv", "ConvTranspose"], x=floats(2, 4, 8, 8))


def test_a_grouped_transposed_convolution():
    b = GraphBuilder(x=("batch", 4, 5, 5))
    y = b("Mul", b("ConvTranspose", "x", floats(4, 3, 2, 2), group=2), per_channel(6, 1))
    check(b.finish(y), ["ConvTranspose"], x=floats(2, 4, 5, 5))


def test_batch_normalization_after_a_conv_vanishes():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    statistics = [floats(4, seed=1), floats(4, seed=2), floats(4, seed=3), floats(4, seed=4) ** 2 + 0.1]
    y = b("BatchNormalization", b("Conv", "x", floats(4, 3, 3, 3)), *statistics, epsilon=1e-3)
    check(b.finish(y), ["Conv"], x=floats(2, 3, 8, 8))


def test_batch_normalization_on_its_own_becomes_scale_and_shift():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    statistics = [floats(4, seed=1), floats(4, seed=2), floats(4, seed=3), floats(4, seed=4) ** 2 + 0.1]
    y = b("Relu", b("BatchNormalization", b("Relu", "x"), *statistics))
    check(b.finish(y), ["Relu", "Mul", "Add", "Relu"], x=floats(2, 4, 8, 8))


def test_a_matmul_keeps_one_add_for_bias_and_batch_normalization():
    b = GraphBuilder(x=("batch", 6))
    y = b("Add", b("MatMul", "x", floats(6, 4)), floats(4, seed=1))
    y = b("Add", b("Mul", y, floats(4, seed=2)), floats(4, seed=3))
    check(b.finish(y), ["MatMul", "Add"], x=floats(2, 6))


def test_a_gemm_takes_both():
    b = GraphBuilder(x=("batch", 6))
    y = b("Gemm", "x", floats(4, 6), floats(4, seed=1), transB=1)
    y = b("Add", b("Mul", y, floats(1, 4, seed=2)), floats(4, seed=3))
    check(b.finish(y), ["Gemm"], x=floats(2, 6))


def test_a_conv_with_a_second_user_stays_as_it_is():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    conv = b("Conv", "x", floats(4, 3, 3, 3))
    y = b("Mul", conv, per_channel(4, 1))
    check(b.finish(b("Add", y, conv)), ["Conv", "Mul", "Add"], x=floats(2, 3, 8, 8))


def test_a_factor_per_pixel_is_no_factor_per_channel():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Mul", b("Conv", "x", floats(4, 3, 1, 1)), floats(1, 1, 8, 8))
    check(b.finish(y), ["Conv", "Mul"], x=floats(2, 3, 8, 8))


def test_an_output_keeps_its_name_when_its_node_is_folded():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Mul", b("Conv", "x", floats(4, 3, 1, 1)), per_channel(4, 1))
    y.name = "probabilities"
    check(b.finish(y), ["Conv"], x=floats(2, 3, 8, 8))


def test_an_int8_grid_survives_a_negative_and_a_zero_factor():
    from keras_trt.onnx_passes.quantized.weights import to_grid

    b = GraphBuilder(x=("batch", 3, 8, 8))
    integers = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3))
    integers[:, 0, 0, 0] = 127
    weight = (integers * np.float32([0.1, 0.2, 0.3, 0.4])[:, None, None, None]).astype(np.float32)
    y = b("Mul", b("Conv", "x", weight), np.float32([0.7, -1.3, 0.0, 2.0]).reshape(1, 4, 1, 1))
    model = b.finish(y)
    FoldAffinePass()(model)
    folded = model.graph[0].inputs[1].const_value.numpy()
    back, scales = to_grid(folded, 0, "conv")
    np.testing.assert_array_equal(back[0], integers[0])
    np.testing.assert_array_equal(back[1], -integers[1])
    np.testing.assert_array_equal(back[2], 0)
    assert (scales > 0).all()


def test_batch_normalization_behind_the_squeeze_of_a_1d_convolution():
    b = GraphBuilder(x=("batch", 3, 1, 8))
    y = b("Squeeze", b("Conv", "x", floats(4, 3, 1, 3)), np.array([2], np.int64))
    y = b("Add", b("Mul", y, floats(1, 4, 1, seed=1)), floats(1, 4, 1, seed=2))
    check(b.finish(b("Relu", y)), ["Conv", "Squeeze", "Relu"], x=floats(2, 3, 1, 8))


def test_batch_normalization_behind_the_reshape_of_a_dense_on_many_axes():
    b = GraphBuilder(x=("batch", 6))
    y = b("Reshape", b("MatMul", "x", floats(6, 4)), np.array([-1, 5, 4], np.int64))
    y = b("Add", b("Mul", b("Add", y, floats(4, seed=3)), floats(4, seed=1)), floats(4, seed=2))
    check(b.finish(b("Relu", y)), ["MatMul", "Add", "Reshape", "Relu"], x=floats(10, 6))


def test_batch_normalization_behind_the_reshape_of_a_single_pixel():
    b = GraphBuilder(x=("batch", 3, 3, 3))
    y = b("Reshape", b("Conv", "x", floats(4, 3, 3, 3)), np.array([-1, 1, 1, 4], np.int64))
    y = b("Add", b("Mul", y, floats(4, seed=1)), floats(1, 1, 1, 4, seed=2))
    check(b.finish(b("Relu", y)), ["Conv", "Reshape", "Relu"], x=floats(2, 3, 3, 3))


def test_a_factor_per_position_stays_behind_the_reshape():
    b = GraphBuilder(x=("batch", 6))
    y = b("Reshape", b("MatMul", "x", floats(6, 4)), np.array([-1, 5, 4], np.int64))
    check(b.finish(b("Mul", y, floats(5, 4))), ["MatMul", "Reshape", "Mul"], x=floats(10, 6))
