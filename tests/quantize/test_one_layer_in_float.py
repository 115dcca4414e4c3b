"""By its defaults `quantize_model` costs no more than leaving one layer in float would have saved."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.quantize import quantize_model, sensitivity


def branches(k):
    """A convolution behind branches of magnitudes 1 and 1,000, whose kernel makes both count."""
    L = k.layers
    inputs = k.Input((8, 8, 3))
    small = L.Conv2D(8, 3, padding="same", activation="relu", name="small")(inputs)
    large = L.Conv2D(8, 3, padding="same", activation="relu", name="large")(inputs)
    both = L.Concatenate()([small, large])
    x = L.Conv2D(8, 3, name="joined")(both)
    x = L.Conv2D(8, 3, activation="relu", name="behind")(x)
    model = k.Model(inputs, L.Dense(5, name="head")(L.Flatten()(x)))
    scale(model.get_layer("large"), 1000.0)
    kernel, *bias = model.get_layer("joined").get_weights()
    kernel[:, :, 8:] /= 1000
    model.get_layer("joined").set_weights([kernel, *bias])
    return model, (64, 8, 8, 3)


def sequence(k):
    """Causal convolutions and a recurrent layer; the first normalisation makes one channel large."""
    L = k.layers
    inputs = k.Input((24, 6))
    x = L.Conv1D(16, 3, padding="causal", activation="relu", name="first")(inputs)
    normal = L.LayerNormalization(name="normal")
    y = L.Conv1D(16, 3, padding="causal", dilation_rate=2, activation="relu", name="second")(normal(x))
    x = L.Add()([x, y])
    x = L.Dense(12, activation="relu", name="dense")(x)
    model = k.Model(inputs, L.Dense(4, name="head")(L.GRU(12, name="gru")(x)))
    gamma, beta = normal.get_weights()
    gamma[3] *= 200
    normal.set_weights([gamma, beta])
    kernel, *bias = model.get_layer("second").get_weights()
    kernel[:, 3] /= 200
    model.get_layer("second").set_weights([kernel, *bias])
    return model, (64, 24, 6)


def mobile(k):
    """Inverted residuals, one with a channel 300 times the others between its convolutions."""
    L = k.layers
    inputs = x = k.Input((12, 12, 8))
    for i in range(2):
        y = L.Conv2D(32, 1, activation="relu", name=f"expand{i}")(x)
        y = L.DepthwiseConv2D(3, padding="same", activation="relu", name=f"depthwise{i}")(y)
        x = L.Add()([x, L.Conv2D(8, 1, name=f"project{i}")(y)])
    model = k.Model(inputs, L.Dense(6, name="head")(L.GlobalAveragePooling2D()(x)))
    kernel, bias = model.get_layer("expand1").get_weights()
    kernel[..., 5] *= 300
    model.get_layer("expand1").set_weights([kernel, bias])
    kernel, bias = model.get_layer("project1").get_weights()
    kernel[:, :, 5] /= 300
    model.get_layer("project1").set_weights([kernel, bias])
    return model, (64, 12, 12, 8)


def scale(layer, factor):
    layer.set_weights([w * factor for w in layer.get_weights()])


def sqnr(model, exact, x):
    noise = np.square(model.predict(x, verbose=0).astype(np.float64) - exact).sum()
    return 10 * np.log10(np.square(exact).sum() / noise)


@pytest.mark.parametrize("make", [branches, sequence, mobile])
def test_no_single_layer_would_have_saved_more(k, make):
    k.utils.set_random_seed(0)
    model, shape = make(k)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    exact = model.predict(x, verbose=0).astype(np.float64)
    found = sqnr(quantize_model(model, calibration_data=x, verbose=0), exact, x)
    worst = sensitivity(model, x, verbose=0).worst(2)
    alone = [
        sqnr(quantize_model(model, calibration_data=x, skip=path, min_sqnr=None, verbose=0), exact, x)
        for path in worst
    ]
    assert found >= min(25, max(alone)) - 1  # a layer is spared below 25 dB, if that gains 1 dB
