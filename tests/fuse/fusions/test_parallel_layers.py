"""Layers that read one tensor become one wide layer, when asked for."""

import numpy as np
import pytest

from keras_trt.fuse import fuse_model
from tests.fuse.fused import fused_layers, layers_of, randomise


def heads(k, make, shape, count=3):
    """Layers on one tensor, each with a reader."""
    x = k.Input(shape)
    h = k.layers.ReLU(name="h")(x)
    return randomise(k.Model(x, [k.layers.ReLU(name=f"r{i}")(make(i)(h)) for i in range(count)]))


@pytest.mark.parametrize("bias", [True, False, None])
def test_dense_layers_become_one(k, bias):
    def make(i):
        use_bias = bool(i) if bias is None else bias
        return k.layers.Dense(i + 2, activation="tanh", use_bias=use_bias, name=f"d{i}")

    names, fusions = fused_layers(heads(k, make, (5, 4)), horizontal=True)
    assert [sorted(name.split("-and-")) for name in names if "-and-" in name] == [["d0", "d1", "d2"]]
    assert not {"d0", "d1", "d2"} & set(names)
    assert fusions == {"layers that read one tensor"}


def test_convolutions_of_a_point_become_one_and_larger_ones_stay(k):
    model = heads(k, lambda i: k.layers.Conv2D(3, (1, 1, 3)[i], strides=2, name=f"c{i}"), (8, 8, 4))
    names = fused_layers(model, horizontal=True)[0]
    assert {"c0-and-c1", "c1-and-c0"} & set(names)
    assert "c2" in names


def test_nobody_asked_nothing_is_done(k):
    model = heads(k, lambda i: k.layers.Dense(3, name=f"d{i}"), (4,))
    assert {"d0", "d1", "d2"} <= set(layers_of(fuse_model(model)))


def test_layers_that_differ_or_make_outputs_stay(k):
    model = heads(k, lambda i: k.layers.Dense(3, ("relu", "tanh", None)[i], name=f"d{i}"), (4,))
    assert {"d0", "d1", "d2"} <= set(fused_layers(model, horizontal=True)[0])
    x = k.Input((4,))
    model = k.Model(x, [k.layers.Dense(3, name="a")(x), k.layers.Dense(3, name="b")(x)])
    assert fused_layers(model, horizontal=True)[0] == ["a", "b"]


def test_the_wide_model_saves_and_loads(k, tmp_path):
    fused = fuse_model(heads(k, lambda i: k.layers.Dense(3, name=f"d{i}"), (4,)), horizontal=True)
    fused.save(tmp_path / "m.keras")
    x = np.ones((2, 4), "float32")
    for a, b in zip(k.models.load_model(tmp_path / "m.keras")(x), fused(x), strict=True):
        np.testing.assert_array_equal(a, b)
