"""What one grid leaves of the channels of a layer's input."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.quantize import quantize_model
from keras_trt.quantize.costs.lost_channels import ChannelNoise, lost_channels

SIZES = np.array([100, 100, 0.2, 0.2, 0.2, 100, 0.3, 100], np.float32)  # a step is 0.8 wide
LAYERS = {
    "dense": ((8,), lambda L: L.Dense(3, name="layer")),
    "steps": ((5, 8), lambda L: L.Conv1D(3, 2, name="layer")),
    "image": ((6, 6, 8), lambda L: L.Conv2D(3, 3, name="layer")),
    "inside": ((5, 8), lambda L: L.TimeDistributed(L.Dense(3, name="layer"))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_channels_that_fall_between_the_steps_are_named(k, name, rng):
    shape, make = LAYERS[name]
    inputs = k.Input(shape)
    model = k.Model(inputs, make(k.layers)(inputs))
    x = (SIZES * rng.choice([-1, 1], (64, *shape)) * rng.uniform(0.5, 1, (64, *shape))).astype("float32")
    quantized = quantize_model(model, recover=None, verbose=0)
    flavor = flavor_of(quantized)
    (path,) = (path for path, layer in flavor.walk(quantized) if layer.name == "layer")
    layer = dict(flavor.walk(quantized))[path]
    layer.input_quantizers[0].set_range(float(np.abs(x).max()))
    said = lost_channels(flavor, quantized, flavor.tf.convert_to_tensor(x), [path])[path]
    reach = f"{np.abs(x).max():.3g}"
    lost = "leaves less than 10 dB of 4 of 8 channels (2 to 4, 6)"
    assert said == f"; the grid of its input, which reaches {reach}, {lost}"


def test_nothing_is_said_where_every_channel_has_steps_enough(k, rng):
    inputs = k.Input((8,))
    model = k.Model(inputs, k.layers.Dense(3, name="layer")(inputs))
    x = rng.normal(size=(32, 8)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    flavor = flavor_of(quantized)
    assert lost_channels(flavor, quantized, flavor.tf.convert_to_tensor(x), ["layer"]) == {"layer": ""}


def test_the_axis_of_the_channels_may_be_another(rng):
    last, first = ChannelNoise(100.0), ChannelNoise(100.0, axis=-3)
    x = SIZES * rng.uniform(0.5, 1, (4, 6, 6, 8))
    last.add(x)
    first.add(np.moveaxis(x, -1, 1))
    assert str(last) == str(first) != ""
