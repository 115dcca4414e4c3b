"""A kernel between two numbers of its grid."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt._keras.backends import tensorflow_ops as ops
from keras_trt.quantize.recovery.rounding.relaxation import Adam, SoftKernel
from keras_trt.twins.fake_quant import quantize_weights, weight_scales


def kernel(shape=(12, 5)):
    values = np.random.default_rng(0).normal(size=shape).astype("float32")
    values[3] = 0.0
    return values


@pytest.mark.parametrize(("dtype", "block"), [("int8", None), ("int4", None), ("int4", 4)])
def test_it_begins_as_the_float_kernel_and_ends_on_its_grid(dtype, block):
    values = kernel()
    scales = weight_scales(ops, tf.constant(values), [1], dtype, block).numpy()
    soft = SoftKernel(tf, values, scales)
    np.testing.assert_allclose(soft.soft().numpy(), values, atol=2e-3 * scales.max())
    nearest = quantize_weights(ops, tf.constant(values), [1], dtype, block).numpy()
    np.testing.assert_allclose(soft.hard(), nearest, atol=1e-6)
    for up in (9.0, -9.0):
        soft.logits.assign(tf.fill(soft.logits.shape, up))
        hard = soft.hard()
        assert not hard[3].any()  # zeros, as pruned ones, stay
        again = quantize_weights(ops, tf.constant(hard), [1], dtype, block).numpy()
        np.testing.assert_allclose(again, hard, atol=1e-6)  # the same grid: each scale's largest has stayed
        assert np.abs(hard - values).max() < scales.max()
        assert soft.unsettled(tf.constant(2.0)).numpy() == pytest.approx(0.0, abs=1e-5)


def test_what_is_on_the_grid_has_nothing_to_settle():
    on_grid = quantize_weights(ops, tf.constant(kernel()), [1], "int4").numpy()
    scales = weight_scales(ops, tf.constant(on_grid), [1], "int4").numpy()
    soft = SoftKernel(tf, on_grid, scales)
    assert soft.count == 0
    np.testing.assert_allclose(soft.hard(), on_grid, atol=1e-6)


def test_adam_is_keras_adam(k):
    start = np.array([1.0, -2.0, 3.0], "float32")
    mine, theirs = tf.Variable(start), tf.Variable(start)
    own, keras = Adam(tf, [mine], 0.1), k.optimizers.Adam(0.1)
    for i in range(5):
        gradient = tf.constant([0.5, -0.1 * i, 2.0])
        own.apply([gradient])
        keras.apply_gradients([(gradient, theirs)])
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-5)
