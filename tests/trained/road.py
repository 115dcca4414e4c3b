"""The whole road of a trained network by its defaults, and what must hold at its end."""

from __future__ import annotations

import numpy as np

import keras_trt


def outputs(model, x):
    import tensorflow as tf

    return [np.asarray(y, np.float64) for y in tf.nest.flatten(model.predict(x, verbose=0))]


def decibels(found, exact):
    noise = np.square(found - exact).sum()
    return np.inf if noise == 0 else 10 * np.log10(np.square(exact).sum() / noise)


def walked(model, folder, calibration_data, x):
    """The outputs of Keras and of the int8 bundle on `x`, which the calibration has not seen.

    On the way: the float bundle equals Keras, and the int8 bundle the quantised model, both by the runner
    that `load` chooses.
    """
    exact = outputs(model, x)
    keras_trt.export(model, folder / "float", calibration_data=calibration_data, verbose=0)
    for found, expected in zip(outputs(keras_trt.load(folder / "float", verbose=0), x), exact, strict=True):
        assert decibels(found, expected) > 100
    quantized = keras_trt.quantize_model(model, calibration_data=calibration_data, verbose=0)
    rounded = outputs(quantized, x)
    report = keras_trt.export(quantized, folder / "int8", calibration_data=calibration_data, verbose=0)
    assert report.int8_layers
    found = outputs(keras_trt.load(folder / "int8", verbose=0), x)
    for bundle, keras in zip(found, rounded, strict=True):
        assert decibels(bundle, keras) > 40
    return exact, found, quantized
