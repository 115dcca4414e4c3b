"""Branches of convolutions that are added become one convolution, when asked for."""

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.fuse import fuse_model
from tests.fuse.fused import fused_layers, randomise


def repvgg(k, kinds, **options):
    """A block of branches: `3`, `1` are windows with a normalisation, `n` one of the input, `x` the input."""
    layers = k.layers
    x = k.Input((8, 8, 4))
    branches = []
    for i, kind in enumerate(kinds):
        if kind == "x":
            branches.append(x)
        elif kind == "n":
            branches.append(layers.BatchNormalization(name=f"n{i}")(x))
        else:
            conv = layers.Conv2D(
                4, int(kind), **{"padding": "same", "use_bias": False, "name": f"c{i}"} | options
            )
            branches.append(layers.BatchNormalization()(conv(x)))
    return randomise(k.Model(x, layers.ReLU(name="r")(layers.Add(name="add")(branches))))


@pytest.mark.parametrize("kinds", ["31n", "31", "13", "3x", "13n", "n3", "351"])
def test_a_block_becomes_its_largest_convolution(k, kinds):
    names, fusions = fused_layers(repvgg(k, kinds), branches=True)
    assert names == [f"c{kinds.index(max(kinds.replace('n', '0').replace('x', '0')))}", "r"]
    assert "branches that are added" in fusions


def test_nobody_asked_nothing_is_done(k):
    assert "add" in fused_layers(repvgg(k, "31n"))[0]
    for wrong in (None, 1, "yes"):
        with pytest.raises(InputError, match="`branches` must be True or False"):
            fuse_model(repvgg(k, "31"), branches=wrong)


@pytest.mark.parametrize(
    ("kinds", "options"),
    [("31", {"strides": 2}), ("32", {}), ("31", {"groups": 2}), ("3x", {"activation": "relu"}), ("xn", {})],
)
def test_what_would_not_be_exact_stays(k, kinds, options):
    assert "add" in fused_layers(repvgg(k, kinds, **options), branches=True)[0]


def test_branches_of_two_tensors_stay(k):
    x = k.Input((8, 8, 4))
    y = k.layers.ReLU(name="y")(x)
    branches = [k.layers.Conv2D(4, 3, padding="same")(x), k.layers.Conv2D(4, 1, padding="same")(y)]
    model = k.Model(x, k.layers.Add(name="add")(branches))
    assert "add" in fused_layers(model, branches=True)[0]


def test_a_branch_that_others_read_stays(k):
    x = k.Input((8, 8, 4))
    a = k.layers.Conv2D(4, 3, padding="same", name="a")(x)
    b = k.layers.Conv2D(4, 1, padding="same", name="b")(x)
    model = k.Model(x, [k.layers.Add(name="add")([a, b]), k.layers.ReLU(name="r")(a)])
    assert "add" in fused_layers(model, branches=True)[0]


def test_the_fused_block_saves_and_loads(k, tmp_path):
    fused = fuse_model(repvgg(k, "31n"), branches=True)
    fused.save(tmp_path / "m.keras")
    x = np.ones((1, 8, 8, 4), "float32")
    np.testing.assert_array_equal(k.models.load_model(tmp_path / "m.keras")(x), fused(x))
