"""Layers inside others that get their weights in the first call."""

import numpy as np
import pytest

import keras_trt


def _late(k):
    """A layer as many write it: `build` makes its own weights, those inside come when it is called."""

    class Late(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.feed_forward = k.Sequential([k.layers.Dense(16, activation="relu"), k.layers.Dense(8)])
            self.last = k.layers.Dense(8)

        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
            self.built = True

        def call(self, x):
            return self.last(self.feed_forward(x) + x * self.scale)

        def compute_output_shape(self, shape):
            return shape

    inputs = k.Input((4, 8))
    return k.Model(inputs, k.layers.Dense(3)(Late(name="late")(inputs)))


@pytest.mark.parametrize("once", [False, True], ids=["array", "iterator"])
def test_layers_without_weights_are_quantised_after_a_first_call(k, rng, once):
    model, x = _late(k), rng.standard_normal((8, 4, 8)).astype("float32")
    data = iter([x[:4], x[4:]]) if once else x
    quantized = keras_trt.quantize_model(
        model, calibration_data=data, method="max", recover=None, min_sqnr=None, verbose=0
    )
    rows = keras_trt.report(quantized).rows
    assert sum(bool(row["quantised"]) for row in rows) == 4
    plain, rounded = np.asarray(model(x)), np.asarray(quantized(x))
    assert 0 < np.linalg.norm(rounded - plain) < 0.05 * np.linalg.norm(plain), "the weights are the model's"
