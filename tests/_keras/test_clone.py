"""A clone has the model's weights and layers, and nothing of its training."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt._keras.flavor import flavor_of


def own_loss(y_true, y_pred):
    return (y_true - y_pred) ** 2


@pytest.mark.parametrize("loss", ["mse", own_loss])
def test_the_clone_of_a_compiled_model_is_not_compiled(k, loss):
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3)])
    model.compile("adam", loss=loss)
    optimizer = model.optimizer
    copy = flavor_of(model).clone(model)
    assert getattr(copy, "optimizer", None) is None
    assert model.optimizer is optimizer
    model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
    for old, new in zip(model.layers, copy.layers, strict=True):
        assert old.name == new.name


def test_a_model_with_a_loss_of_its_own_is_quantised_and_pruned(k):
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3)])
    model.compile("adam", loss=own_loss)
    assert keras_trt.quantize_model(model).get_weights()
    assert keras_trt.prune_model(model, sparsity=0.5).get_weights()


def test_a_model_with_a_saved_model_inside_is_quantised(tmp_path):
    import keras

    inner = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    inner.export(tmp_path / "saved", verbose=False)
    layer = keras.layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve")
    model = keras.Sequential([keras.layers.Input((4,)), layer, keras.layers.Dense(2, name="head")])
    x = np.ones((2, 4), np.float32)
    clone = flavor_of(model).clone(model)
    np.testing.assert_array_equal(clone(x), model(x))


def test_a_subclassed_model_with_a_function_inside_is_cloned(k):
    @k.saving.register_keras_serializable(f"test_clone_{k.__name__}")
    class Net(k.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.double = k.layers.Lambda(lambda x: x * 2, name="double")
            self.head = k.layers.Dense(2, name="head")

        def call(self, x):
            return self.head(self.double(x))

    model, x = Net(), np.ones((2, 4), np.float32)
    expected = np.asarray(model(x))
    np.testing.assert_array_equal(np.asarray(flavor_of(model).clone(model)(x)), expected)


@pytest.mark.parametrize("change", ["clone", "fuse", "shrink"])
def test_an_adapted_normalization_normalises_in_the_copy_too(k, change):
    x = np.random.default_rng(0).normal(3, 5, (64, 4)).astype("float32")
    norm = k.layers.Normalization(name="norm")
    norm.adapt(x)
    hidden = [k.layers.Dense(8, name="hidden"), k.layers.BatchNormalization(), k.layers.Dense(2, name="out")]
    model = k.Sequential([k.layers.Input((4,)), norm, *hidden])
    if change == "clone":
        copy = keras_trt.strip(keras_trt.quantize_model(model))
    elif change == "fuse":
        copy = keras_trt.fuse_model(model)
    else:
        kernel = model.get_layer("hidden").kernel
        kernel.assign(kernel * np.float32([1] * 4 + [0] * 4))
        copy = keras_trt.prune_model(model, sparsity=0.5, pattern="channel")
        assert copy.get_layer("hidden").units == 4
    np.testing.assert_allclose(copy.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
