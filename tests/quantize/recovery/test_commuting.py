"""What is said to commute with factors of the channels does, by number."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.quantize.recovery.commuting import channel_operands

CHANNELS = 3
IMAGE, ROWS = (2, 4, 4, CHANNELS), (2, 5, CHANNELS)
COMMUTE = {
    "relu": (IMAGE, tf.nn.relu),
    "leaky": (IMAGE, lambda x: tf.nn.leaky_relu(x, 0.3)),
    "identity": (ROWS, tf.identity),
    "max pool": (IMAGE, lambda x: tf.nn.max_pool2d(x, 2, 2, "SAME")),
    "average pool": (IMAGE, lambda x: tf.nn.avg_pool2d(x, 2, 1, "SAME")),
    "pad": (IMAGE, lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]])),
    "mirror": (IMAGE, lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]], "REFLECT")),
    "bilinear": (IMAGE, lambda x: tf.image.resize(x, (7, 5))),
    "nearest": (IMAGE, lambda x: tf.image.resize(x, (8, 8), "nearest")),
    "flatten": (IMAGE, lambda x: tf.reshape(x, (2, -1))),
    "rows": (IMAGE, lambda x: tf.reshape(x, (2, 16, CHANNELS))),
    "expand": (ROWS, lambda x: tf.expand_dims(x, 1)),
    "squeeze": ((2, 1, CHANNELS), lambda x: tf.squeeze(x, 1)),
    "class token": (ROWS, lambda x: x[:, 0]),
    "strided": (IMAGE, lambda x: x[:, ::2, 1:]),
    "mean": (IMAGE, lambda x: tf.reduce_mean(x, (1, 2))),
    "kept mean": (IMAGE, lambda x: tf.reduce_mean(x, (1, 2), keepdims=True)),
    "max": (ROWS, lambda x: tf.reduce_max(x, 1)),
    "sum": (ROWS, lambda x: tf.reduce_sum(x, -2)),
    "gate": (IMAGE, lambda x: x * tf.sigmoid(tf.constant([[[[1.0, 2.0, 3.0]]]]))),
    "times": (ROWS, lambda x: 0.3 * x),
    "over": (ROWS, lambda x: x / 3.0),
    "added": (ROWS, lambda x: x + tf.nn.relu(x)),
    "subtracted": (ROWS, lambda x: x - tf.nn.relu(x)),
    "joined rows": (ROWS, lambda x: tf.concat([x, tf.nn.relu(x)], 1)),
}
DO_NOT = {
    "sigmoid": (ROWS, tf.sigmoid),
    "softmax": (ROWS, tf.nn.softmax),
    "square": (ROWS, lambda x: x * x),
    "inverse": (ROWS, lambda x: 1.0 / x),
    "mean of channels": (ROWS, lambda x: tf.reduce_mean(x, -1)),
    "kept mean of channels": (ROWS, lambda x: tf.reduce_mean(x, -1, keepdims=True)),
    "turned channels": (ROWS, lambda x: x[..., ::-1]),
    "some channels": (ROWS, lambda x: x[..., :2]),
    "one channel": ((2, CHANNELS, CHANNELS), lambda x: x[..., 0]),
    "one channel, counted": ((2, CHANNELS, CHANNELS), lambda x: x[:, :, 1]),
    "joined channels": (ROWS, lambda x: tf.concat([x, x], -1)),
    "mixed rows": (ROWS, lambda x: tf.reshape(x, (2, CHANNELS, 5))),
    "swapped": (ROWS, lambda x: tf.transpose(x, (0, 2, 1))),
    "padded by one": (ROWS, lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 0]], constant_values=1.0)),
    "cast": (ROWS, lambda x: tf.cast(x, tf.int32)),
    "shifted": (ROWS, lambda x: tf.add(x, tf.constant([[[1.0]]]))),
    "product": (ROWS, lambda x: tf.matmul(x, tf.ones((CHANNELS, CHANNELS)))),
    "sorted": (ROWS, lambda x: tf.sort(x, -1)),
}


@pytest.mark.parametrize("name", COMMUTE)
def test_operators_that_factors_pass_through(k, name):
    shape, function = COMMUTE[name]
    op = tf.function(function).get_concrete_function(tf.TensorSpec(shape)).graph.outputs[0].op
    while op.type == "Identity" and op.inputs[0].op.type != "Placeholder":
        op = op.inputs[0].op
    assert channel_operands(flavor_of(k.layers.Layer), op)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    factors = np.array([0.5, 3.0, 40.0], "float32")
    made, scaled = (np.asarray(function(tf.constant(values))) for values in (x, x * factors))
    expected = made * np.tile(factors, made.shape[-1] // CHANNELS)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", DO_NOT)
def test_operators_that_stop_factors(k, name):
    shape, function = DO_NOT[name]
    op = tf.function(function).get_concrete_function(tf.TensorSpec(shape)).graph.outputs[0].op
    while op.type == "Identity":
        op = op.inputs[0].op
    assert not channel_operands(flavor_of(k.layers.Layer), op)
