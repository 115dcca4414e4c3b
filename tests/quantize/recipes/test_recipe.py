"""A recipe says what was decided for each layer, and another run follows it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_trt import Recipe, load_model, quantize_model, report, save_model
from keras_trt.errors import InputError
from tests.nets import images, residual_net

_LAYER = (
    '{"version": 1, "model": "m", "layers": [{"path": "a", "kind": "Dense", "scheme": null, "ranges": [], '
    '"recover": [], "reason": "", "shapes": %s}]}'
)


def quantised(model):
    return {r["layer"]: (r["quantised"], r["scheme"], r["amax"]) for r in report(model).rows}


def test_ranges_formats_and_reasons_are_followed_without_data(k, tmp_path):
    model, (x, _) = residual_net(k), images()
    first = quantize_model(
        model, calibration_data=x, scheme={"strided": "fp8", ".*": "int8"}, skip=["separable"], recover=None,
        verbose=0,
    )  # fmt: skip
    recipe = Recipe.of(first)
    recipe.to_json(tmp_path / "recipe.json")
    path, text = tmp_path / "recipe.json", recipe.to_json()
    assert all(Recipe.from_json(source) == recipe for source in (text, f"  {text}", path, str(path)))
    second = quantize_model(model, recipe=tmp_path / "recipe.json", verbose=0)
    assert quantised(second) == quantised(first)
    np.testing.assert_array_equal(second.predict(x, verbose=0), first.predict(x, verbose=0))


def test_a_recipe_with_recoveries_needs_data_and_repeats_them(k, tmp_path):
    i = k.Input((12,))
    h = k.layers.Dense(16, activation="relu", name="maker")(i)
    model = k.Model(i, k.layers.Dense(4, name="reader")(h))
    kernel, bias = model.get_layer("maker").get_weights()
    kernel[:, 2] *= 60
    model.get_layer("maker").set_weights([kernel, bias])
    kernel, bias = model.get_layer("reader").get_weights()
    kernel[2] /= 60
    model.get_layer("reader").set_weights([kernel, bias])
    x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
    first = quantize_model(model, calibration_data=x, verbose=0)
    recipe = Recipe.of(first)
    assert recipe.layers[-1].recover == ("bias_correction", "gain_correction", "equalization")
    assert "equalised" in report(first).rows[-1]["quantised"]
    with pytest.raises(InputError, match="'reader' for one, which takes data"):
        quantize_model(model, recipe=recipe, verbose=0)
    second = quantize_model(model, recipe=recipe, calibration_data=x, verbose=0)
    np.testing.assert_allclose(second.predict(x, verbose=0), first.predict(x, verbose=0), atol=1e-5)
    save_model(first, tmp_path / "m.keras")
    assert Recipe.of(load_model(tmp_path / "m.keras")) == recipe


def test_why_a_layer_was_left_in_float_is_kept(k):
    model, (x, _) = residual_net(k), images()
    first = quantize_model(model, calibration_data=x, min_sqnr=60.0, recover=None, verbose=0)
    reasons = {r["layer"]: r["reason"] for r in report(first).rows if "min_sqnr" in (r["reason"] or "")}
    assert reasons
    second = quantize_model(model, recipe=Recipe.of(first), calibration_data=x, verbose=0)
    assert {r["layer"]: r["reason"] for r in report(second).rows if r["layer"] in reasons} == reasons


def test_a_recipe_is_a_table(k):
    model, (x, _) = residual_net(k), images()
    text = str(Recipe.of(quantize_model(model, calibration_data=x, skip=["strided"], verbose=0)))
    assert "Recipe of residual_net" in text and "bias_correction" in text and "float" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "No recipe"),
        ("{", "No recipe"),
        (None, "No recipe"),
        ("", "No recipe"),
        ("null", "No recipe, and no file of that name. Received: 'null'"),
        ("recipes.json", "No recipe, and no file of that name. Received: 'recipes.json'"),
        ("r" * 100000, "No recipe, and no file of that name. Received: 'rrrr"),
        ('{"version": true, "model": "m", "layers": []}', "No recipe"),
        ('{"version": 99, "model": "m", "layers": []}', "pip install -U keras-trt"),
        ('{"version": 1, "model": "m", "layers": [{"path": 1}]}', "No recipe"),
        (_LAYER % '[["wide"]]', "No recipe"),
        (_LAYER % "3", "No recipe"),
        ("[" * 100000, "No recipe"),
    ],
)
def test_what_is_no_recipe_is_refused(text, words):
    with pytest.raises(InputError, match=words):
        Recipe.from_json(text)


def test_wrong_arguments_are_refused(k, tmp_path):
    model = residual_net(k)
    with pytest.raises(InputError, match="no file"):
        quantize_model(model, recipe=tmp_path / "none.json", verbose=0)
    with pytest.raises(InputError, match="a path"):
        quantize_model(model, recipe=3, verbose=0)
    with pytest.raises(InputError, match="beside `scheme`"):
        quantize_model(model, recipe=Recipe("m", ()), skip=["stem"], verbose=0)
    assert json.loads(Recipe("m", ()).to_json()) == {
        "model": "m",
        "layers": [],
        "version": 1,
        "placement": "all",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"ranges": [1.0, 2.0, 3.0]},
            "3 ranges for layer 'maker' .Dense., which takes 1. Received: .1.0, 2.0",
        ),
        ({"ranges": []}, "0 ranges for layer 'maker'"),
        ({"ranges": [float("nan")]}, "Ranges are finite and not negative.*Received: layer 'maker'"),
        ({"ranges": [-1.0]}, "Ranges are finite and not negative"),
        ({"recover": ["magic"]}, "recoveries of .'equalization'.*recover=.'magic'"),
    ],
)
def test_a_recipe_with_numbers_that_no_model_has_is_refused(k, tmp_path, change, message):
    i = k.Input((12,))
    model = k.Model(i, k.layers.Dense(4, name="maker")(i))
    x = np.random.default_rng(0).normal(size=(32, 12)).astype("float32")
    path = tmp_path / "recipe.json"
    Recipe.of(quantize_model(model, calibration_data=x, recover=None, verbose=0)).to_json(path)
    written = json.loads(path.read_text())
    next(each for each in written["layers"] if each["path"] == "maker").update(change)
    path.write_text(json.dumps(written))
    with pytest.raises(InputError, match=message):
        quantize_model(model, recipe=path, verbose=0)


def test_a_file_that_is_no_text_is_refused(k, tmp_path):
    i = k.Input((12,))
    (tmp_path / "recipe.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="No recipe that"):
        quantize_model(k.Model(i, k.layers.Dense(4)(i)), recipe=tmp_path / "recipe.json", verbose=0)
