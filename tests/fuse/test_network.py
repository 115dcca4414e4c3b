"""Fusions where one layer lies in a nested model, and the other outside of it or in another."""

from __future__ import annotations

import pytest

from tests.fuse.fused import fused_layers, randomise

SHAPE = (8, 8, 3)


def net(k, body, shape=SHAPE, name=None):
    inputs = k.Input(shape)
    return k.Model(inputs, body(inputs), name=name)


def conv(k, **options):
    return k.layers.Conv2D(4, 3, padding="same", name="conv", **options)


def nested_conv(k):
    return net(k, conv(k), name="inner")


def batchnorm_behind(k):
    return net(k, lambda x: k.layers.BatchNormalization()(nested_conv(k)(x)))


def batchnorm_behind_a_sequential(k):
    inner = k.Sequential([k.Input(SHAPE), conv(k)], name="inner")
    return k.Sequential([k.Input(SHAPE), inner, k.layers.BatchNormalization()])


def batchnorm_two_levels_above(k):
    middle = net(k, nested_conv(k), name="middle")
    return net(k, lambda x: k.layers.BatchNormalization()(middle(x)))


def batchnorm_alone_in_a_model(k):
    inner = net(k, k.layers.BatchNormalization(), (8, 8, 4), "inner")
    return net(k, lambda x: inner(conv(k)(x)))


def batchnorm_of_a_sibling(k):
    inner = k.Sequential([k.Input((8, 8, 4)), k.layers.BatchNormalization()], name="sibling")
    return net(k, lambda x: inner(nested_conv(k)(x)))


def one_batchnorm_behind_both_calls(k):
    inner = net(k, k.layers.Conv2D(3, 1, name="conv"), name="inner")
    batchnorm = k.layers.BatchNormalization()
    return net(k, lambda x: batchnorm(inner(batchnorm(inner(x)))))


def rescaling_before_a_backbone(k):
    inner = net(k, k.layers.Conv2D(4, 3, name="conv"), name="inner")
    return net(k, lambda x: inner(k.layers.Rescaling(1 / 127.5, -1.0)(x)))


def rescaling_in_a_model_of_its_own(k):
    inner = k.Sequential([k.Input(SHAPE), k.layers.Rescaling(1 / 255)], name="inner")
    return net(k, lambda x: conv(k)(inner(x)))


def dropout_alone_in_a_model(k):
    inner = k.Sequential([k.Input((8, 8, 4)), k.layers.Dropout(0.5)], name="inner")
    return k.Sequential([k.Input(SHAPE), conv(k), inner, k.layers.ReLU(name="relu")])


def dropout_that_ends_a_model(k):
    inner = net(k, lambda x: k.layers.Dropout(0.5)(conv(k)(x)), name="inner")
    return net(k, lambda x: k.layers.ReLU(name="relu")(inner(x)))


FUSED = [
    (batchnorm_behind, ["inner/conv"]),
    (batchnorm_behind_a_sequential, ["inner/conv"]),
    (batchnorm_two_levels_above, ["middle/inner/conv"]),
    (batchnorm_alone_in_a_model, ["conv"]),
    (batchnorm_of_a_sibling, ["inner/conv"]),
    (one_batchnorm_behind_both_calls, ["inner/conv"]),
    (rescaling_before_a_backbone, ["inner/conv"]),
    (rescaling_in_a_model_of_its_own, ["conv"]),
    (dropout_alone_in_a_model, ["conv", "relu"]),
    (dropout_that_ends_a_model, ["inner/conv", "relu"]),
]


@pytest.mark.parametrize("make,remaining", FUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_fused_across_nested_models(k, make, remaining):
    assert fused_layers(randomise(make(k)), 1e-4)[0] == remaining


def batchnorm_behind_one_of_two_calls(k):
    inner = net(k, k.layers.Conv2D(3, 1, name="conv"), name="inner")
    return net(k, lambda x: inner(k.layers.BatchNormalization(name="bn")(inner(x))))


def output_of_the_nested_model_is_read_twice(k):
    h = nested_conv(k)(inputs := k.Input(SHAPE))
    return k.Model(inputs, [h, k.layers.BatchNormalization(name="bn")(h)])


def dense_before_a_nested_dense(k):
    """One layer instead of the two would need another shape of the nested model's input."""
    inner = k.Sequential([k.Input((20,)), k.layers.Dense(5, name="dense")], name="inner")
    return net(k, lambda x: inner(k.layers.Dense(20, name="bn")(x)), (4,))


def dropout_that_makes_the_output(k):
    return net(k, net(k, k.layers.Dropout(0.5, name="bn"), name="inner"))


STAY = [
    batchnorm_behind_one_of_two_calls,
    output_of_the_nested_model_is_read_twice,
    dense_before_a_nested_dense,
    dropout_that_makes_the_output,
]


@pytest.mark.parametrize("make", STAY, ids=lambda make: make.__name__)
def test_left_as_it_is(k, make):
    layers, kinds = fused_layers(randomise(make(k)), 1e-4)
    assert not kinds
    assert any(path.endswith("bn") for path in layers)
