"""Normalisations and rescalings go into the layer behind them where no padding is in the way."""

import numpy as np
import pytest

from keras_trt.fuse import fuse_model
from tests.fuse.fused import fused_layers, layers_of, randomise

NAME = "scale and shift before it"
READERS = {
    "Conv1D": ((9, 4), {"filters": 5, "kernel_size": 3}),
    "Conv2D": ((8, 8, 4), {"filters": 6, "kernel_size": 3, "strides": 2, "activation": "relu"}),
    "Conv2D in groups": ((8, 8, 4), {"filters": 6, "kernel_size": 3, "groups": 2}),
    "Conv2D of a point": ((8, 8, 4), {"filters": 6, "kernel_size": 1, "padding": "same", "strides": 2}),
    "Conv3D": ((4, 4, 4, 2), {"filters": 3, "kernel_size": 2}),
    "Dense": ((7,), {"units": 5, "use_bias": False}),
    "DepthwiseConv2D": ((8, 8, 3), {"kernel_size": 3, "depth_multiplier": 2}),
    "SeparableConv2D": ((8, 8, 3), {"filters": 4, "kernel_size": 3, "depth_multiplier": 2}),
}


@pytest.mark.parametrize("name", READERS)
def test_batch_normalisation_before_a_layer_with_weights(k, name):
    shape, options = READERS[name]
    reader = getattr(k.layers, name.split()[0])(name="reader", **options)
    model = randomise(k.Sequential([k.Input(shape), k.layers.BatchNormalization(), reader]))
    assert fused_layers(model) == (["reader"], {NAME})


@pytest.mark.parametrize(
    "options",
    [
        {"scale": False},
        {"center": False},
        {"gamma_initializer": "zeros"},
        {"moving_variance_initializer": "zeros"},
    ],
)
def test_its_options_and_odd_numbers(k, options):
    layers = [k.layers.BatchNormalization(**options), k.layers.Conv2D(4, 3, name="c")]
    model = k.Sequential([k.Input((6, 6, 3)), *layers])
    layers[1].bias.assign(np.arange(4.0))
    assert fused_layers(model)[0] == ["c"]


def test_a_negative_scale(k):
    layers = [k.layers.BatchNormalization(name="bn"), k.layers.Conv2D(4, 3, name="c")]
    model = k.Sequential([k.Input((6, 6, 3)), *layers])
    layers[0].gamma.assign([-1.0, 0.0, 2.0])
    layers[0].beta.assign([0.5, 1.0, -1.0])
    assert fused_layers(model)[0] == ["c"]


def test_rescaling_and_normalisation_of_images(k):
    rescaling = k.layers.Rescaling(1 / 127.5, -1.0)
    normalization = k.layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3])
    for layer in (rescaling, normalization):
        model = randomise(k.Sequential([k.Input((8, 8, 3)), layer, k.layers.Conv2D(4, 3, name="c")]))
        if layer is normalization:
            model.layers[0].build((None, 8, 8, 3))
        assert fused_layers(model)[0] == ["c"]


@pytest.mark.parametrize("offset", [0.0, -1.0])
def test_padding_takes_a_scale_through_and_no_shift(k, offset):
    for layers in (
        [k.layers.Conv2D(4, 3, padding="same", name="c")],
        [k.layers.ZeroPadding2D(1, name="p"), k.layers.Conv2D(4, 3, name="c")],
    ):
        before = k.layers.Rescaling(1 / 255, offset, name="scale")
        model = randomise(k.Sequential([k.Input((8, 8, 3)), before, *layers]))
        names = [layer.name for layer in layers]
        assert fused_layers(model)[0] == (names if offset == 0 else ["scale", *names])


def test_whole_numbers_keep_their_rescaling(k):
    x = k.Input((8, 8, 3), dtype="uint8")
    model = k.Model(x, k.layers.Conv2D(4, 3, name="c")(k.layers.Rescaling(1 / 255, name="scale")(x)))
    assert layers_of(fuse_model(model)) == ["scale", "c"]


def test_two_readers_keep_it(k):
    x = k.Input((8, 8, 3))
    y = k.layers.BatchNormalization(name="bn")(x)
    model = k.Model(x, [k.layers.Conv2D(4, 3, name="a")(y), k.layers.Conv2D(4, 3, name="b")(y)])
    assert fused_layers(randomise(model))[0][0] == "bn"


def test_another_axis_keeps_it(k):
    layers = [k.layers.BatchNormalization(axis=1, name="bn"), k.layers.Conv1D(4, 3, name="c")]
    assert fused_layers(randomise(k.Sequential([k.Input((8, 3)), *layers])))[0] == ["bn", "c"]
