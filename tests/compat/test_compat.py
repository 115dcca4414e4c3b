"""What earlier releases wrote is loaded, and computes what it did then; `make.py` writes a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import keras_trt

RELEASES = sorted(
    path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0].isdigit()
)
CASES = [
    pytest.param(release, name, id=f"{release.name}-{name}")
    for release in RELEASES
    for name in ("keras", "tf_keras")
]


def test_there_is_a_release():
    assert RELEASES


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("release,name", CASES)
def test_a_bundle_computes_what_it_did(release, name, runner):
    engine = keras_trt.load(release / f"{name}.bundle", runner=runner, verbose=0)
    with np.load(release / f"{name}.npz") as rows:
        np.testing.assert_allclose(engine.predict(rows["x"], verbose=0), rows["y"], atol=5e-3)
    assert engine.labels == ["a", "b", "c"]
    assert engine.metadata["run"] == 1
    assert keras_trt.inspect(release / f"{name}.bundle").intact


@pytest.mark.parametrize("release,name", CASES)
def test_a_keras_file_comes_back_quantised_and_pruned(release, name):
    model = keras_trt.load_model(release / f"{name}.keras")
    with np.load(release / f"{name}.npz") as rows:
        np.testing.assert_allclose(model.predict(rows["x"], verbose=0), rows["y"], atol=1e-5)
    layers = {row["layer"]: row for row in keras_trt.report(model).rows}
    assert layers["conv"]["quantised"]
    assert layers["head"]["quantised"]
    assert [
        round(row["sparsity"], 2) for row in keras_trt.prune.sparsity_report(model).rows if row["target"]
    ] == [
        0.5,
        0.5,
    ]
    model.fit(np.zeros((4, 6, 6, 2)), np.zeros(4), verbose=0)  # its training goes on


@pytest.mark.parametrize("release,name", CASES)
def test_a_recipe_is_followed(release, name):
    path = release / f"{name}.recipe.json"
    plain = keras_trt.strip(keras_trt.load_model(release / f"{name}.keras"))
    with np.load(release / f"{name}.npz") as rows:
        again = keras_trt.quantize_model(plain, recipe=path, calibration_data=rows["x"], verbose=0)
    recipe = keras_trt.Recipe.from_json(path.read_text())
    assert [layer.path for layer in keras_trt.Recipe.of(again).layers] == [
        layer.path for layer in recipe.layers
    ]
