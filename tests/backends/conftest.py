"""Keras 3 on JAX and PyTorch, in a process of its own: `KERAS_BACKEND=jax pytest tests/backends`."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")
collect_ignore_glob = [] if BACKEND in ("jax", "torch") else ["test_*.py"]


@pytest.fixture(autouse=True)
def tensors_of_a_gpu(monkeypatch):
    """PyTorch's tensors as they are on a GPU: numpy cannot read one that Keras has not fetched."""
    if BACKEND != "torch":
        return
    import torch

    fetched = torch.Tensor.__array__

    def read(tensor, dtype=None, copy=None):
        asked_by = sys._getframe(1).f_code
        if asked_by.co_name != "transform" or not asked_by.co_filename.endswith("torch/core.py"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy.")
        return fetched(tensor, dtype)

    monkeypatch.setattr(torch.Tensor, "__array__", read)


@pytest.fixture
def net():
    """Makes a small compiled network, every time the same: what Keras builds most, in the fewest layers."""
    import keras

    def make(**options):
        keras.utils.set_random_seed(0)
        x = inputs = keras.Input((8, 8, 3), name="image")
        x = keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="stem")(x)
        x = kept = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="norm")(x))
        x = keras.layers.SeparableConv2D(16, 3, padding="same", activation="relu", name="separable")(x)
        x = keras.layers.Flatten(name="flat")(keras.layers.Add(name="add")([x, kept]))
        outputs = keras.layers.Dense(4, activation="softmax", name="head")(x)
        model = keras.Model(inputs, outputs, name="net")
        optimizer = keras.optimizers.Adam(3e-3, **options)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return make


@pytest.fixture(scope="session")
def rows():
    """Images whose brightest quarter is the class, and the classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 256)
    x = rng.uniform(0, 0.5, (256, 8, 8, 3)).astype("float32")
    for image, label in zip(x, y, strict=True):
        image[4 * (label // 2) :, 4 * (label % 2) :][:4, :4] += 0.5
    return x, y


def values(variable):
    """A variable's numbers on any backend."""
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable))
