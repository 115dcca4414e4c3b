"""Which layers of a model the layers of a recipe are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_trt import Recipe, quantize_model, report
from keras_trt.errors import InputError
from tests.nets import images, residual_net

X = np.random.default_rng(0).normal(size=(32, 8, 4)).astype("float32")


def unnamed(k, units=6, whole=True):
    """A net whose layers have the names that Keras gives them."""
    layers = k.layers

    class Scaled(layers.Dense):
        """A user's own."""

    i = k.Input((8, 4))
    h = layers.Conv1D(units, 3, padding="same")(i)
    h = layers.ReLU()(layers.Add()([h, layers.Conv1D(units, 1)(i)])) * 2
    if not whole:
        return k.Model(i, layers.Dense(2)(h))
    h = layers.MultiHeadAttention(1, 4)(h, h)
    h = layers.Bidirectional(layers.GRU(3))(h)
    inner = k.Sequential([k.Input((6,)), layers.Dense(5), layers.ReLU()])
    h = k.Model(i2 := k.Input((6,)), inner(i2))(h)
    return k.Model(i, layers.Dense(2)(Scaled(5)(h)))


def decided(model):
    return [(r["kind"], r["quantised"], r["scheme"], r["amax"]) for r in report(model).rows]


def test_the_same_net_built_again_is_the_same_whatever_numbers_keras_gives(k):
    first = quantize_model(unnamed(k), calibration_data=X, recover=None, skip=["scaled.*"], verbose=0)
    recipe = Recipe.of(first)
    again = unnamed(k)
    assert [layer.name for layer in again.layers] != [layer.name for layer in first.layers]
    second = quantize_model(again, recipe=recipe, verbose=0)
    assert decided(second) == decided(first)
    assert [each.path for each in Recipe.of(second).layers] != [each.path for each in recipe.layers]
    assert [(e.kind, e.ranges, e.shapes) for e in Recipe.of(second).layers] == [
        (e.kind, e.ranges, e.shapes) for e in recipe.layers
    ]


def test_a_clone_made_by_keras_and_a_loaded_file_follow_it(k, tmp_path):
    i = k.Input((8, 4))
    model = k.Model(i, k.layers.Dense(2)(k.layers.MultiHeadAttention(1, 4)(i, i)))
    first = quantize_model(model, calibration_data=X, recover=None, min_sqnr=None, verbose=0)
    model.save(tmp_path / "net.keras")
    for other in (k.models.clone_model(model), k.models.load_model(tmp_path / "net.keras")):
        second = quantize_model(other, recipe=Recipe.of(first), verbose=0)
        assert decided(second) == decided(first)
        assert decided(quantize_model(model, recipe=Recipe.of(second), verbose=0)) == decided(first)


def test_layers_inside_models_are_followed_one_by_one(k):
    """Also where layers at other places have the same name, and are quantised otherwise."""
    layers = k.layers
    inner = k.Sequential([k.Input((4,)), layers.Dense(4, name="same"), layers.ReLU()], name="inner")
    i2 = k.Input((4,))
    middle = k.Model(i2, inner(i2), name="middle")
    i = k.Input((4,))
    model = k.Model(i, layers.Dense(3, name="last")(middle(layers.Dense(4, name="same")(i))))
    for skip in ([], [model.get_layer("same")], ["middle/inner/same"], ["middle"]):
        first = quantize_model(
            model, calibration_data=X[:, 0], recover=None, min_sqnr=None, skip=skip, verbose=0
        )
        second = quantize_model(model, recipe=Recipe.of(first), verbose=0)
        assert Recipe.of(second).schemes == Recipe.of(first).schemes
        assert decided(second) == decided(first)


def test_other_widths_are_another_net_where_names_do_not_say_that_it_is_the_same(k):
    recipe = Recipe.of(quantize_model(unnamed(k, whole=False), calibration_data=X, verbose=0))
    message = (
        r"layer 2 is 'conv1d\w*' \(Conv1D with kernels \(3, 4, 6\)\).*\(Conv1D with kernels \(3, 4, 8\)\)"
    )
    with pytest.raises(InputError, match=message):
        quantize_model(unnamed(k, units=8, whole=False), recipe=recipe, calibration_data=X, verbose=0)


def test_recipes_of_before_shapes_were_written_are_followed(k, tmp_path):
    written = json.loads(
        Recipe.of(
            quantize_model(unnamed(k, whole=False), calibration_data=X, recover=None, verbose=0)
        ).to_json()
    )
    for each in written["layers"]:
        del each["shapes"]
    (tmp_path / "old.json").write_text(json.dumps(written))
    followed = quantize_model(unnamed(k, whole=False), recipe=tmp_path / "old.json", verbose=0)
    schemes = [each["scheme"] for each in written["layers"]]
    assert [each["scheme"] for each in Recipe.of(followed).to_dict()["layers"]] == schemes
    assert any(schemes)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("branch_1", "branch_2"), ("branch_2", "branch_1")),
        (("dense_wide", "head"), ("dense", "head")),
        ((None, "head"), ("encoder", "head")),
        (("dense", "head"), (None, "tail")),
    ],
)
def test_names_that_a_user_gave_count(k, before, after):
    def net(names):
        return k.Sequential([k.Input((4,), name="x"), *(k.layers.Dense(4, name=name) for name in names)])

    recipe = Recipe.of(quantize_model(net(before), calibration_data=X[:, 0], recover=None, verbose=0))
    with pytest.raises(
        InputError, match=r"another model: its layer [23] is .*\(Dense with kernels \(4, 4\)\)"
    ):
        quantize_model(net(after), recipe=recipe, verbose=0)


def test_a_net_with_more_or_fewer_layers_is_another(k):
    def net(count):
        return k.Sequential([k.Input((4,)), *(k.layers.Dense(4) for _ in range(count))])

    recipe = Recipe.of(quantize_model(net(2), calibration_data=X[:, 0], recover=None, verbose=0))
    with pytest.raises(
        InputError, match=r"its layer \d is missing. Received: a model whose layer \d is 'dense"
    ):
        quantize_model(net(3), recipe=recipe, verbose=0)
    with pytest.raises(InputError, match=r"its layer \d is 'dense.* whose layer \d is missing"):
        quantize_model(net(1), recipe=recipe, verbose=0)


def test_another_model_is_refused_by_its_first_layer_that_differs(k):
    model, (x, _) = residual_net(k), images()
    recipe = Recipe.of(quantize_model(model, calibration_data=x, verbose=0))
    i = k.Input((8, 8, 3), name="image")
    other = k.Model(i, k.layers.Dense(4, name="stem")(i))
    with pytest.raises(InputError, match=r"layer 2 is 'stem' \(Conv2D with.*layer 2 is 'stem' \(Dense with"):
        quantize_model(other, recipe=recipe, verbose=0)
