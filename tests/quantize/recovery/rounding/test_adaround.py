"""Weights rounded by what their layer returns."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.quantize import quantize_model
from keras_trt.quantize.inventory import twins
from keras_trt.quantize.recipes.recipe import Recipe
from keras_trt.quantize.recovery.rounding import adaround


def vectors(rows, size):
    """Rows of few dimensions, as what layers read is."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(rows, 6)) @ rng.normal(size=(6, size))).astype("float32")


IMAGES = vectors(48, 384).reshape(48, 8, 8, 6)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setitem(adaround.adaround.__kwdefaults__, "steps", 150)


def kinds(k):
    """Every kind of layer, one of them shared, one in a model of its own."""
    layers = k.layers
    image = k.Input((8, 8, 6))
    inner_in = k.Input((8, 8, 8))
    inner = k.Model(
        inner_in, layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(inner_in), name="inner"
    )
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(image)
    x = layers.SeparableConv2D(8, 3, padding="same", name="separable")(x)
    x = inner(x)
    shared = layers.Conv2D(8, 1, name="shared")
    x = layers.Add()([shared(x), shared(layers.Activation("tanh")(x))])
    x = layers.Conv2DTranspose(6, 2, name="transpose")(x)
    x = layers.Reshape((81, 6))(x)
    x = layers.Conv1D(8, 3, name="conv1d")(x)
    x = layers.Dense(8, activation="gelu", name="dense")(x)
    x = layers.EinsumDense("btf,fg->btg", (None, 8), bias_axes="g", name="einsum")(x)
    return k.Model(image, layers.Dense(4, name="head")(layers.GlobalAveragePooling1D()(x)))


def lost(model, quantized):
    return float(np.mean((quantized.predict(IMAGES, verbose=0) - model.predict(IMAGES, verbose=0)) ** 2))


def changed(model):
    return {path for path, layer in twins(flavor_of(model), model) if layer.quantization.rounded}


def test_int8_weights_of_every_kind_of_layer(k):
    k.utils.set_random_seed(0)
    model = kinds(k)
    floats = model.get_weights()
    options = {"calibration_data": IMAGES, "min_sqnr": None, "verbose": 0}
    nearest = quantize_model(model, "int8-weights", recover=None, **options)
    rounded = quantize_model(model, "int8-weights", recover=("adaround",), **options)
    names = {
        "depthwise",
        "separable",
        "inner/conv",
        "shared",
        "transpose",
        "conv1d",
        "dense",
        "einsum",
        "head",
    }
    assert set(adaround._layers(flavor_of(rounded), rounded)) == names  # all are tried
    assert changed(rounded) >= {"depthwise", "separable", "inner/conv", "shared", "transpose", "dense"}
    assert lost(model, rounded) < 0.9 * lost(model, nearest)
    assert all(map(np.array_equal, floats, model.get_weights()))  # the user's model stays


def test_int4_weights_settle_on_their_grid_and_leave(k, tmp_path):
    layers = k.layers
    k.utils.set_random_seed(0)
    model = k.Sequential(
        [k.Input((64,)), layers.Dense(64, activation="relu", name="a"), layers.Dense(8, name="b")]
    )
    x = vectors(128, 64)
    options = {"calibration_data": x, "verbose": 0}
    nearest = quantize_model(model, "int4-weights", recover=None, **options)
    rounded = quantize_model(model, "int4-weights", recover=("bias_correction", "adaround"), **options)
    exact = model.predict(x, verbose=0)
    errors = [np.mean((each.predict(x, verbose=0) - exact) ** 2) for each in (nearest, rounded)]
    assert errors[1] < 0.5 * errors[0]
    assert changed(rounded) == {"a", "b"}
    recipe = Recipe.of(rounded)
    assert all("adaround" in each.recover for each in recipe.layers if each.scheme)
    assert Recipe.from_json(recipe.to_json()).recover == recipe.recover
    keras_trt.save_model(rounded, tmp_path / "m.keras")
    loaded = keras_trt.load_model(tmp_path / "m.keras")
    assert changed(loaded) == {"a", "b"}
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), rounded.predict(x, verbose=0))
    report = keras_trt.export(rounded, tmp_path / "m.bundle", engine=None, verbose=0)
    assert report is not None


def test_zeros_of_a_pruned_model_stay(k):
    k.utils.set_random_seed(0)
    model = k.Sequential([k.Input((32,)), k.layers.Dense(32, name="a"), k.layers.Dense(4, name="b")])
    pruned = keras_trt.prune_model(model, 0.5)
    x = vectors(32, 32)
    rounded = quantize_model(pruned, "int8-weights", recover=("adaround",), calibration_data=x, verbose=0)
    assert changed(rounded)
    before, after = (each.get_layer("a").kernel.numpy() for each in (pruned, rounded))
    assert (before == 0).any()
    assert not after[before == 0].any()


def test_in_place_and_taken_back_after_an_error(k, monkeypatch):
    k.utils.set_random_seed(0)
    model = k.Sequential([k.Input((16,)), k.layers.Dense(16, name="a"), k.layers.Dense(4, name="b")])
    x = vectors(32, 16)
    before = model.get_weights()
    options = {"recover": ("adaround",), "calibration_data": x, "verbose": 0, "copy": False}

    def fails(*_, **__):
        raise RuntimeError("no")

    with monkeypatch.context() as patch:
        patch.setattr(adaround, "correct", fails)
        with pytest.raises(RuntimeError, match="no"):
            quantize_model(model, "int8-weights", **options)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    quantize_model(model, "int8-weights", **options)
    assert changed(model)


def test_a_budget_that_it_would_exceed_takes_it_back(k):
    k.utils.set_random_seed(0)
    model = k.Sequential([k.Input((16,)), k.layers.Dense(16, name="a"), k.layers.Dense(4, name="b")])
    x = vectors(32, 16)
    quantized = quantize_model(model, "int8-weights", recover=None, verbose=0)
    weights = quantized.get_weights()
    flavor = flavor_of(quantized)
    with adaround.rounded(flavor, quantized, x, ("adaround",), lambda: False):
        pass
    assert not changed(quantized)
    assert all(np.array_equal(a, b) for a, b in zip(weights, quantized.get_weights(), strict=True))


def test_too_few_rows_round_to_the_nearest(k):
    model = k.Sequential([k.Input((16,)), k.layers.Dense(16, name="a"), k.layers.Dense(4, name="b")])
    x = np.ones((4, 16), "float32")
    rounded = quantize_model(model, "int8-weights", recover=("adaround",), calibration_data=x, verbose=0)
    assert not changed(rounded)


def test_data_that_is_read_once(k):
    k.utils.set_random_seed(0)
    model = k.Sequential([k.Input((16,)), k.layers.Dense(16, name="a"), k.layers.Dense(4, name="b")])
    x = vectors(48, 16)
    once = (x[i : i + 16] for i in range(0, 48, 16))
    rounded = quantize_model(model, "int8-weights", recover=("adaround",), calibration_data=once, verbose=0)
    assert changed(rounded)
