"""Prediction with arrays by name, whatever structure the model takes and returns."""

from __future__ import annotations

import numpy as np

from keras_trt.runtime import load
from keras_trt.runtime.by_name import predict_by_name
from tests.small_onnx import conv_model, save_bundle, two_in_two_out


def test_results_are_those_of_predict_by_output_name(tmp_path):
    structure = {"output_structure": {"sum": "total", "rest": ["product"]}}
    engine = load(save_bundle(tmp_path / "b", two_in_two_out(), **structure), verbose=0)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)).astype("float32"), rng.integers(0, 9, (5, 3)).astype("int32")
    found, want = predict_by_name(engine, {"b": b, "a": a}), engine.predict([a, b], verbose=0)
    np.testing.assert_array_equal(found["total"], want["sum"])
    np.testing.assert_array_equal(found["product"], want["rest"][0])


def test_what_numpy_has_no_type_for_has_the_graphs_own(tmp_path):
    path = save_bundle(tmp_path / "b", conv_model(int8=False), predicted_dtypes={"y": "bfloat16"})
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype("float32")
    assert predict_by_name(load(path, verbose=0), {"x": x})["y"].dtype == np.float32
