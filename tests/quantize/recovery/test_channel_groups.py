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
