"""Normalisations and activations leave as ONNX's own operators where the opset has them."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt

OPERATORS = {
    19: ["HardSwish", "InstanceNormalization"],
    20: ["Gelu", "HardSwish", "InstanceNormalization"],
    21: ["Gelu", "GroupNormalization", "HardSwish"],
    24: ["Gelu", "GroupNormalization", "HardSwish", "Swish"],
}


def network(k):
    """A block of a diffusion model, one of MobileNetV3, one of a transformer."""
    layers = k.layers
    x = image = k.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.GroupNormalization(4, name="group", gamma_initializer="uniform", beta_initializer="uniform")(x)
    x = layers.Activation("swish")(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Multiply()([x, layers.Rescaling(1 / 6)(layers.ReLU(6.0)(layers.Rescaling(1.0, 3.0)(x)))])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(8, activation="gelu")(x)
    return k.Model(image, x)


@pytest.mark.parametrize("opset", OPERATORS)
def test_operators_of_each_opset(k, opset, tmp_path):
    report = keras_trt.export(network(k), tmp_path / "net", opset=opset, engine=None, verbose=0)
    whole = {"Gelu", "GroupNormalization", "HardSwish", "InstanceNormalization", "Swish"}
    assert sorted(whole & set(report.operators)) == OPERATORS[opset]
    assert report.verified_with is not None
    assert report.differences[0]["relative"] < 1e-4


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8+fp16"])
def test_lower_precisions_keep_them(k, precision, tmp_path):
    x = np.random.default_rng(0).random((8, 8, 8, 3), "float32")
    report = keras_trt.export(
        network(k),
        tmp_path / "net",
        precision=precision,
        calibration_data=x,
        engine=None,
        opset=21,
        verbose=0,
    )
    assert {"Gelu", "GroupNormalization", "HardSwish"} <= set(report.operators)


def test_root_mean_square_normalisation(tmp_path):
    import keras

    x = keras.Input((5, 16))
    model = keras.Model(x, keras.layers.RMSNormalization(epsilon=1e-9)(x))
    report = keras_trt.export(model, tmp_path / "net", opset=23, engine=None, verbose=0)
    assert report.operators == {"RMSNormalization": 1}
    assert (
        "RMSNormalization" not in keras_trt.export(model, tmp_path / "19", engine=None, verbose=0).operators
    )
