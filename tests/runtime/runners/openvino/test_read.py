"""OpenVINO maps the weights that are in a bundle's file, and computes the same with them."""

from __future__ import annotations

import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from keras_trt import load
from keras_trt.bundle import read_bundle
from keras_trt.runtime.runners import mapped
from keras_trt.runtime.runners.openvino.runner import OpenVINORunner
from tests.small_onnx import model_of, save_bundle

pytest.importorskip("openvino")
ROWS, COLUMNS = 301, 7  # an odd number of bytes in most types
TYPES = ["float32", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"]


def model_with(weight, name):
    """x @ w, of a weight of any type, which the graph casts to float32."""
    nodes = [
        helper.make_node("Cast", ["w"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["x", "f"], [name]),
    ]
    rows, columns = weight.shape
    return model_of(nodes, {"x": ["batch", rows]}, {name: ["batch", columns]}, {"w": weight})


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["y", "output"])
def test_weights_of_every_type_at_any_place_in_the_file(tmp_path, monkeypatch, rng, dtype, name):
    monkeypatch.setattr(mapped, "SMALLEST", 1)
    held = rng.integers(0, 2 if dtype == "bool" else 100, (ROWS, COLUMNS))
    weight = held.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    path = save_bundle(tmp_path / "b", model_with(weight, name))
    x = rng.normal(size=(2, ROWS)).astype(np.float32)
    with load(path, runner="openvino") as engine:
        np.testing.assert_allclose(engine.predict(x, verbose=0), x @ held, rtol=1e-4, atol=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux maps")
def test_a_file_is_mapped_as_long_as_it_is_loaded(tmp_path, rng):
    maps = Path("/proc/self/maps")
    weight = rng.normal(size=(mapped.SMALLEST, 1)).astype(np.float32)
    path = save_bundle(tmp_path / "b", model_with(weight, "y"))
    (tmp_path / "link").symlink_to(path, target_is_directory=True)
    with load(tmp_path / "link", runner="openvino"):
        assert str(path / "model.onnx") in maps.read_text()
    assert str(path / "model.onnx") not in maps.read_text()


def test_what_must_be_known_to_read_the_graph_is_read_with_it(tmp_path, monkeypatch):
    """The sizes of a Reshape: as an input they leave the graph without a rank, or OpenVINO refuses it."""
    monkeypatch.setattr(mapped, "SMALLEST", 1)
    nodes = [helper.make_node("Reshape", ["x", "sizes"], ["y"])]
    model = model_of(nodes, {"x": ["batch", 6]}, {"y": ["batch", 3, 2]}, {"sizes": np.array([-1, 3, 2])})
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    with load(save_bundle(tmp_path / "b", model), runner="openvino") as engine:
        np.testing.assert_array_equal(engine.predict(x, verbose=0), x.reshape(2, 3, 2))


def test_weights_that_nothing_or_an_output_reads(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(mapped, "SMALLEST", 1)
    weight = rng.normal(size=(6, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Identity", ["w"], ["z"])]
    shapes = {"x": ["batch", 6]}, {"y": ["batch", 2], "z": [6, 2]}
    model = model_of(nodes, *shapes, {"w": weight, "unused": weight + 1})
    bundle = read_bundle(save_bundle(tmp_path / "b", model))
    x = rng.normal(size=(3, 6)).astype(np.float32)
    results = OpenVINORunner(bundle).run({"x": x})
    np.testing.assert_allclose(results["y"], x @ weight, rtol=1e-5)
    np.testing.assert_array_equal(results["z"], weight)
