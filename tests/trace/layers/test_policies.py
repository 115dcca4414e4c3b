"""Layers that hold bfloat16 or float16: the graph is float32, and `predict` returns what Keras does."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_trt


def image_model(dtype):
    layers, own = keras.layers, {"dtype": dtype}
    x = keras.Input((8, 8, 3))
    y = layers.ReLU(**own)(layers.BatchNormalization(**own)(layers.Conv2D(8, 3, **own)(x)))
    return keras.Model(x, layers.Dense(4, **own)(layers.GlobalAveragePooling2D(**own)(y)))


def text_model(dtype):
    layers, own = keras.layers, {"dtype": dtype}
    cell = {"recurrent_initializer": "glorot_uniform", **own}
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(20, 8, **own)(x)
    y = layers.LayerNormalization(**own)(y + layers.MultiHeadAttention(2, 4, **own)(y, y))
    y = layers.LSTM(8, **cell)(layers.GRU(8, return_sequences=True, **cell)(y))
    return keras.Model(x, layers.Dense(3, **own)(y))


def data(rng, model):
    if "int" in model.inputs[0].dtype:
        return rng.integers(0, 20, (8, 6)).astype("int32")
    return rng.normal(size=(8, 8, 8, 3)).astype("float32")


def check(model, x, path):
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    report = keras_trt.export(model, path, engine=None, verbose=0, calibration_data=x)
    assert report.differences[0]["relative"] < 1e-5
    found = keras_trt.load(path, verbose=0).predict(x, verbose=0)
    assert found.dtype.name == model.outputs[0].dtype
    expected = keras.ops.convert_to_numpy(keras.ops.cast(model(x), "float32"))
    assert np.abs(np.asarray(found, "float32") - expected).max() < 0.03 * np.abs(expected).max()
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), old)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("make", [image_model, text_model])
def test_bfloat16_weights_are_traced_in_float32(make, quantized, rng, tmp_path):
    model = make("bfloat16")
    x = data(rng, model)
    if quantized:
        model = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    check(model, x, tmp_path / "net")


@pytest.mark.parametrize("make", [image_model, text_model])
def test_quantised_float16_weights_are_traced_in_float32(make, rng, tmp_path):
    model = make("float16")
    x = data(rng, model)
    check(keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0), x, tmp_path / "net")
