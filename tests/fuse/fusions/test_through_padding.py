"""BatchNormalization behind a padding goes into the convolution before it, where it shifts nothing."""

import pytest

from tests.fuse.fused import fused_layers, randomise


def network(k, **options):
    layers = [
        k.layers.Conv2D(4, 3, name="c"),
        k.layers.ZeroPadding2D(1, name="p"),
        k.layers.BatchNormalization(name="bn", **options),
        k.layers.ReLU(name="r"),
    ]
    return k.Sequential([k.Input((8, 8, 3)), *layers])


def test_a_scale_goes_through(k):
    model = randomise(network(k, center=False))
    model.get_layer("bn").moving_mean.assign([0.0] * 4)
    assert fused_layers(model) == (["c", "p", "r"], {"batch normalisation behind padding"})


@pytest.mark.parametrize("options", [{}, {"center": False}])
def test_a_shift_does_not(k, options):
    assert fused_layers(randomise(network(k, **options))) == (["c", "p", "bn", "r"], set())
