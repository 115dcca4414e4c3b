"""A machine that only predicts: an empty environment with the core and one runner, nothing of Keras."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_trt
from tests.small_onnx import conv_model, save_bundle

ROOT = Path(__file__).parent.parent.parent
FOREIGN = ("tensorflow", "keras", "tf-keras", "tf2onnx", "tensorflow-model-optimization")

PREDICTS = """
import json, sys
import numpy as np
import keras_trt
engine = keras_trt.load(sys.argv[1], verbose=0)
np.save(sys.argv[3], engine.predict(np.load(sys.argv[2]), verbose=0))
print(json.dumps({"runner": engine.runner.name, "loaded": sorted(sys.modules)}))
"""

REFUSES = """
import json, sys, zipfile
import keras_trt
with zipfile.ZipFile(sys.argv[2], "w") as file:
    file.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
    file.writestr("config.json", "{}")
engine = keras_trt.load(sys.argv[1], verbose=0)
for call in (lambda: keras_trt.load_model(sys.argv[2]), engine.as_layer):
    try:
        call()
    except keras_trt.errors.MissingDependencyError as e:
        print(e)
"""

LISTS = """
from importlib.metadata import distributions
print(*(held.metadata["Name"].lower() for held in distributions()))
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """The interpreter of an environment made by `pip install keras-trt[onnxruntime]`."""
    folder = tmp_path_factory.mktemp("box")
    source = folder / "source"
    shutil.copytree(ROOT / "keras_trt", source / "keras_trt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", f"{source}[onnxruntime]"]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("bundles") / "b", conv_model())


def run(box, code, *arguments):
    # From elsewhere, so that the installed package is found and not the one of this tree.
    done = subprocess.run(
        [box, "-I", "-c", code, *arguments], check=False, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_predicts(box, bundle, tmp_path, rng):
    x = rng.normal(size=(3, 4, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    told = json.loads(run(box, PREDICTS, bundle, tmp_path / "x.npy", tmp_path / "y.npy"))
    assert told["runner"] == "onnxruntime"
    expected = keras_trt.load(bundle, "onnxruntime", verbose=0).predict(x, verbose=0)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_nothing_of_keras_is_installed(box):
    names = run(box, LISTS).split()
    assert {"keras-trt", "numpy", "packaging", "rich", "onnxruntime"} <= set(names)
    assert not {*names} & {*FOREIGN}


def test_what_needs_keras_says_how_to_get_it(box, bundle, tmp_path):
    lines = run(box, REFUSES, bundle, tmp_path / "model.keras").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "`keras` cannot be imported (needed by Keras models and layers)" in line
        assert "pip install 'keras-trt[keras]'" in line
