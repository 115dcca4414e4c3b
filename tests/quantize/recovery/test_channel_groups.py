"""Which tensors take the same factors, and which layers take them in."""

from __future__ import annotations

import numpy as np

from keras_trt import quantize_model
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.quantize.recovery.channel_groups import channel_groups


def groups_of(model, *shape):
    """(makers, readers, cap) of each group."""
    x = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, recover=None, min_sqnr=None, verbose=0)
    flavor = flavor_of(quantized)
    groups = channel_groups(flavor, quantized, flavor.tf.constant(x))
    return {(*sorted(g.makers), "->", *sorted(g.readers)): g for g in groups}


def test_a_residual_stream_is_one_group_and_a_branch_another(k):
    layers = k.layers
    i = k.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(layers.Conv2D(8, 3, padding="same")(i)))
    y = layers.Conv2D(16, 1, activation="relu6" if k.__name__ == "keras" else "relu", name="wide")(x)
    y = layers.Conv2D(8, 1, name="back")(y)
    x = layers.Add()([x, y])
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    groups = groups_of(k.Model(i, layers.Dense(4, name="head")(x)), 8, 8, 3)
    assert set(groups) == {("back", "bn", "->", "head", "wide"), ("wide", "->", "back")}
    assert groups["back", "bn", "->", "head", "wide"].channels == 8  # 4 x 4 x 8 numbers are flattened
    assert groups["wide", "->", "back"].caps == ({6.0} if k.__name__ == "keras" else set())


def test_a_normalisation_is_read_by_attention_and_by_dense_layers(k):
    layers = k.layers
    i = k.Input((6, 16))
    n = layers.LayerNormalization(name="first")(i)
    x = layers.Add()([i, layers.MultiHeadAttention(2, 8, name="attention")(n, n)])
    n = layers.LayerNormalization(name="second")(x)
    x = layers.Add()([x, layers.Dense(16)(layers.Dense(32, activation="gelu", name="wide")(n))])
    groups = groups_of(k.Model(i, layers.Dense(4, name="head")(x)), 6, 16)
    projections = [f"attention/{name}" for name in ("key", "query", "value")]
    assert set(groups) == {("first", "->", *projections), ("second", "->", "wide")}


def test_a_gate_scales_a_tensor_and_takes_no_factors(k):
    layers = k.layers
    i = k.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, activation="relu", depth_multiplier=4, name="maker")(i)
    gate = layers.Dense(12, activation="sigmoid", name="gate")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 12))(gate)])
    groups = groups_of(k.Model(i, layers.Conv2D(4, 1, name="reader")(x)), 8, 8, 3)
    assert set(groups) == {("maker", "->", "gate", "reader")}


def test_grouped_convolutions_and_channels_first_read_no_factors(k):
    layers = k.layers
    i = k.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, activation="relu", name="maker")(i)
    grouped = layers.Conv2D(8, 3, groups=2, name="grouped")(x)
    assert groups_of(k.Model(i, grouped), 8, 8, 4) == {}


def test_behind_a_mean_nobody_knows_how_near_an_activation_comes_to_its_cap(k):
    def groups(pooling):
        i = k.Input((8, 8, 3))
        x = pooling(k.layers.ReLU(6.0)(k.layers.Conv2D(8, 1, name="maker")(i)))
        return set(groups_of(k.Model(i, k.layers.Conv2D(4, 1, name="reader")(x)), 8, 8, 3))

    assert groups(k.layers.MaxPooling2D(2)) == {("maker", "->", "reader")}
    assert groups(k.layers.AveragePooling2D(2)) == set()


def test_channels_that_share_a_bias_have_no_factors_of_their_own(k):
    def groups(bias_axes):
        i = k.Input((6, 16))
        x = k.layers.EinsumDense("abc,cde->abde", (None, 4, 8), bias_axes=bias_axes, name="maker")(i)
        x = k.layers.EinsumDense("abde,def->abf", (None, 5), name="reader")(x)
        return set(groups_of(k.Model(i, x), 6, 16))

    assert groups("de") == groups("e") == {("maker", "->", "reader")}
    assert groups("d") == set()
