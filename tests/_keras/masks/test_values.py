"""Only pruned weights are exactly zero: that is how files tell them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from keras_trt import load_model, prune_model, save_model
from keras_trt._keras.backends import tensorflow_ops
from keras_trt._keras.masks.values import pruned

X, Y = np.random.default_rng(0).normal(size=(64, 8)).astype("float32"), np.arange(64) % 4


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_zero_is_where_the_mask_says_and_nowhere_else(dtype):
    value = tf.constant([[0.5, 0.0, -0.0], [np.nan, -2.0, 0.0]], dtype)
    mask = np.array([[True, True, True], [True, False, False]])
    plain = partial(pruned, tensorflow_ops)
    for run in (plain, tf.function(plain, jit_compile=True)):
        found = run(value, mask).numpy().astype(float)
        np.testing.assert_array_equal(found != 0, mask)
        assert found[0, 0] == 0.5
        assert np.isnan(found[1, 0])
        assert (found[0, 1:] > 0).all()
        assert (found[0, 1:] < 1e-7).all()


def net(k, **options):
    layers = [k.layers.Dense(16, name="a", **options), k.layers.Dense(4, activation="softmax", name="b")]
    model = k.Sequential([k.Input((8,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def test_a_layer_that_starts_at_zero_trains_from_a_file(k, tmp_path):
    model = prune_model(net(k, kernel_initializer="zeros"), 0.5)
    save_model(model, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    loaded.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    loaded.fit(X, Y, verbose=0)
    kernel = np.abs(np.asarray(loaded.get_layer("a").kernel))
    assert np.mean(kernel == 0) == 0.5
    assert np.mean(kernel > 1e-5) == 0.5


@pytest.mark.parametrize("averages", [False, True])
def test_weights_that_a_constraint_brings_to_zero_come_back(k, tmp_path, averages):
    model = prune_model(net(k, kernel_constraint="non_neg"), 0.25)
    optimizer = k.optimizers.Adam(0.01, use_ema=averages, ema_momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(X, Y, epochs=3, verbose=0)
    kernel = np.asarray(model.get_layer("a").kernel)
    assert np.mean(kernel == 0) == 0.25
    if not averages:  # Keras averages what is not constrained yet
        assert (kernel >= 0).all()
        assert np.mean((kernel > 0) & (kernel < 1e-20)) > 0.1
    save_model(model, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    for one in (model, loaded):
        one.fit(-X, Y, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_array_equal(loaded.get_layer("a").kernel, model.get_layer("a").kernel)
