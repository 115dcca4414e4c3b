import json
import math
import sys

import numpy as np
import pytest

import keras_trt
from keras_trt.bundle.read import read_bundle
from keras_trt.packing import write

BUDGET = ("--max-drop", "0.1", "--evaluate", "rows.npz")


def test_a_file_becomes_an_int8_bundle(run, model_file):
    ended = run(
        "export", model_file, "-o", "net.bundle", "--int8", "--calibrate", "rows.npz", "--engine", "none"
    )
    assert ended.code == 0, ended.err
    assert "difference to Keras" in ended.out
    manifest = read_bundle("net.bundle").manifest
    assert manifest.precision == "int8"
    with keras_trt.load("net.bundle", verbose=0) as engine:
        assert engine.predict(np.zeros((2, 6)), verbose=0).shape == (2, 3)


def test_options_reach_export(run, model_file):
    options = ["--fp16", "--batch", "2", "--external-data", "--no-probe", "--engine", "none", "--opset", "20"]
    ended = run("export", model_file, "-o", "net.bundle", *options, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["precision"] == "fp16"
    manifest = read_bundle("net.bundle").manifest
    assert manifest.batch == (2, 2, 2)
    assert manifest.opset == 20
    assert list(manifest.external_data) == ["model.onnx.data"]
    assert run("export", model_file, "-o", "net.bundle", "--engine", "none", "-q", "--overwrite").out == ""
    assert read_bundle("net.bundle").manifest.precision == "float32"


def test_classes_of_the_users_own_are_imported_because_they_were_typed(k, run, tmp_path):
    (tmp_path / "layers_of_a_test.py").write_text(
        f"import {k.__name__} as keras\n"
        "class Twice(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        from layers_of_a_test import Twice

        k.Sequential([k.Input((6,)), Twice(), k.layers.Dense(2)]).save(tmp_path / "net.keras")
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["layers_of_a_test"]
    export = ("export", "net.keras", "-o", "net.bundle", "--engine", "none", "-q")
    ended = run(*export)
    assert ended.code == 1
    assert "layers_of_a_test" in ended.err
    assert "On the command line: --custom-objects MODULE:NAMES" in ended.err
    assert run(*export, "--custom-objects", "layers_of_a_test:Twice").code == 0
    del sys.modules["layers_of_a_test"]


def test_code_in_a_file_runs_only_where_the_user_says_so(k, run, failed, tmp_path):
    k.Sequential([k.Input((6,)), k.layers.Lambda(lambda x: 2 * x), k.layers.Dense(2)]).save(
        tmp_path / "net.keras"
    )
    export = ("export", "net.keras", "-o", "net.bundle", "--engine", "none", "-q")
    assert "On the command line: --unsafe, only for files you trust" in failed(*export)
    ended = run(*export, "--unsafe")
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent.keras", "-o", "b"], 1, "There is no model at 'absent.keras'"),
        (["rows.npz", "-o", "b"], 1, "A model is a `.keras` or `.h5` file"),
        (["net.keras", "-o", "no/such/folder"], 1, "There is no folder '"),
        (["net.keras", "-o", "net.keras/net.bundle"], 1, "net.keras' is a file, no folder"),
        (["net.keras", "-o", "b", "--batch", "4294967296"], 2, "--batch: `batch` must be"),
        (["net.keras", "-o", "rows.npz"], 1, "exists already. .* On the command line: --overwrite"),
        (["net.keras", "-o", "rows.npz", "--overwrite"], 1, "is not a bundle"),
        (["net.keras", "-o", "b", "--int8"], 1, "calibration_data.* On the command line: --calibrate FILE"),
        (["net.keras", "-o", "b", "--calibrate", "absent.npy"], 1, "The data `absent.npy` cannot be read"),
        (
            ["net.keras", "-o", "b", "--opset", "3"],
            2,
            "--opset: `opset` must be .* Received: opset=3. See: keras-trt export --help",
        ),
        (["net.keras", "-o", "b", "--batch", "4,2,1"], 2, "--batch: `batch` must be"),
        (["net.keras", "-o", "b", "--batch", "1,2"], 2, "--batch takes one size or min,opt,max"),
        (["net.keras", "-o", "b", "--int8", "--precision", "fp16"], 2, "contradict"),
        (["net.keras", "-o", "b", "--custom-objects", "layers"], 2, "module:names is needed"),
        (["net.keras", "-o", "b", "--custom-objects", "no_such:A"], 1, "`no_such` cannot be imported"),
        (["net.keras", "-o", "b", *BUDGET, "--write-recipe", "no/r.json"], 1, "There is no folder"),
        (
            ["net.keras", "-o", "b", *BUDGET, "--write-recipe", "net.keras"],
            2,
            "would replace what MODEL names",
        ),
        (["net.keras"], 2, "-o/--output"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(model_file, failed, arguments, code, text):
    import re

    assert re.search(text, failed("export", *arguments, code=code))


def test_a_place_that_cannot_be_written_is_told(model_file, failed, tmp_path, monkeypatch):
    import os

    access = os.access  # root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode))
    (tmp_path / "locked").mkdir()
    assert "is read-only" in failed("export", model_file, "-o", "locked/net.bundle")


def test_ctrl_c_while_the_bundle_is_written_leaves_nothing(model_file, failed, monkeypatch):
    def interrupted(model, folder, **_):
        (folder / "model.onnx").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "write_onnx", interrupted)
    err = failed("export", model_file, "-o", "net.bundle", "--engine", "none", "-q", code=130)
    assert err == "keras-trt export: interrupted; nothing was left half-written\n"


def test_a_budget_is_kept_and_its_recipe_followed(run, model_file):
    options = ("--calibrate", "rows.npz", "--engine", "none", "-q")
    budget = ("--max-drop", "0.5", "--evaluate", "rows.npz", "--metric", "accuracy")
    ended = run("export", model_file, "-o", "a", *options, *budget, "--write-recipe", "recipe.json")
    assert ended.code == 0, ended.err
    assert run("export", model_file, "-o", "b", *options, "--recipe", "recipe.json", "--fp16").code == 0
    assert read_bundle("a").manifest.precision == "int8"
    assert read_bundle("b").manifest.precision == "int8+fp16"


def test_of_an_error_less_is_better(run, model_file, monkeypatch):
    given = {}

    def quantized(model, **options):
        given.update(options)
        raise keras_trt.errors.InputError("enough")

    monkeypatch.setattr(sys.modules[keras_trt.quantize_model.__module__], "quantize_model", quantized)
    monkeypatch.setattr(keras_trt.quantize, "quantize_model", quantized)
    budget = ("--max-drop", "0.5", "--evaluate", "rows.npz", "--metric")
    run("export", model_file, "-o", "a", *budget, "mae")
    assert given["metric"] == "mae"  # by its name Keras's own, which says that less is better
    run("export", model_file, "-o", "a", *budget, "math:dist")
    assert given["metric"] is math.dist


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--recipe", "r.json", "--max-drop", "1"], "give one of them"),
        (["--max-drop", "1"], "--max-drop is kept on --evaluate"),
        (["--evaluate", "rows.npz"], "--max-drop is kept on --evaluate"),
        (["--metric", "accuracy"], "--metric is what --max-drop is of"),
        (["--write-recipe", "r.json"], "--write-recipe writes what --max-drop has decided"),
    ],
)
def test_half_a_budget_is_refused(failed, model_file, options, text):
    assert text in failed("export", model_file, "-o", "net.bundle", *options, code=2)


def test_a_recipe_that_is_none_is_one_line(failed, model_file, tmp_path):
    (tmp_path / "r.json").write_text("{}")
    assert "No recipe" in failed("export", model_file, "-o", "net.bundle", "--recipe", "r.json")
