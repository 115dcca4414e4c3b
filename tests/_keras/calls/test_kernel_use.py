"""What a layer's own `call` makes of its kernel is seen before the kernel is rounded."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt._keras.calls.kernel_use import changes_kernels, rounds_kernels
from keras_trt._keras.flavor_of import flavor_of
from tests.nets import layers_with_own_calls

IMAGE = (None, 9, 9, 8)
OFF_EVERY_GRID = ("Standardised", "Centred", "Merged", "Clipped", "Noisy", "Assigns")
ON_A_GRID = ("Spectral", "Adapted", "FourBits", "Signs", "Lower", "Equalised", "Padded", "Causal", "Residual")
ON_A_GRID += ("Demodulated", "WhereTrained")


def built(k, name):
    cls = layers_with_own_calls(k)[name]
    if issubclass(cls, k.layers.Dense):
        layer, shape = cls(8), (None, 8)
    elif issubclass(cls, k.layers.DepthwiseConv2D):
        layer, shape = cls(3), IMAGE
    elif issubclass(cls, k.layers.Conv1D):
        layer, shape = cls(8, 3), IMAGE[1:]
    else:
        layer, shape = cls(8, 3), IMAGE
    layer.build(shape)
    return layer, shape


def kernel(layer):
    return "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"


@pytest.mark.parametrize("known", [True, False], ids=["shape", "no shape"])
@pytest.mark.parametrize("name", OFF_EVERY_GRID)
def test_weights_that_would_be_off_the_grid_are_seen(k, name, known):
    layer, shape = built(k, name)
    before = layer.get_weights()
    assert changes_kernels(flavor_of(layer), layer, [kernel(layer)], shape if known else None)
    np.testing.assert_equal(layer.get_weights(), before)


@pytest.mark.parametrize("name", ON_A_GRID)
def test_weights_that_stay_on_a_grid_are_none_of_them(k, name):
    layer, shape = built(k, name)
    assert not changes_kernels(flavor_of(layer), layer, [kernel(layer)], shape)


def test_mixed_precision_and_functions_of_the_user_s_change_nothing_about_it(k):
    class Centred(k.layers.Dense):
        @tf.function
        def call(self, x):
            kernel = tf.cast(self.kernel, x.dtype)
            return tf.matmul(x, kernel - tf.reduce_mean(kernel, 0))

    for cls, expected in ((Centred, True), (layers_with_own_calls(k)["Padded"], False)):
        layer = cls(8, dtype="mixed_float16") if expected else cls(8, 3, dtype="mixed_float16")
        layer.build((None, 8) if expected else IMAGE)
        assert changes_kernels(flavor_of(layer), layer, ["kernel"]) is expected


def test_a_call_that_wants_more_than_a_tensor_is_left_to_the_export(k):
    class Two(k.layers.Dense):
        def call(self, x, other):
            return tf.matmul(x, self.kernel - other)

    layer = Two(8)
    layer.build((None, 8))
    assert not changes_kernels(flavor_of(layer), layer, ["kernel"])


def test_a_tensor_that_a_layer_holds_is_no_input(k):
    class Scaled(k.layers.Dense):
        factors = tf.constant(
            np.random.default_rng(0).random((32, 32), "float32")
        )  # too large for a constant

        def call(self, x):
            return tf.matmul(x, self.kernel * self.factors)

    layer = Scaled(32)
    layer.build((None, 32))
    assert changes_kernels(flavor_of(layer), layer, ["kernel"])


@pytest.mark.parametrize(("name", "rounds"), [("FourBits", True), ("Signs", True), ("Lower", False)])
def test_layers_that_round_their_kernels_are_known(k, name, rounds):
    cls = layers_with_own_calls(k)[name]
    for inputs in (32, 3):  # three numbers are on some grid by chance
        layer = cls(8)
        layer.build((None, inputs))
        assert rounds_kernels(flavor_of(layer), layer, ["kernel"]) == (rounds and inputs == 32)
