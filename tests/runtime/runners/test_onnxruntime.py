"""ONNX Runtime with its optimisations."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.bundle import read_bundle
from keras_trt.errors import RunnerError
from keras_trt.exporting import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime.runners import onnxruntime


def test_a_layer_that_is_called_more_than_once_is_optimised_too(k, tmp_path, monkeypatch):
    i, shared = k.Input((8, 8, 4)), k.layers.Conv2D(4, 3, padding="same", activation="relu")
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype(np.float32)
    pooled = k.layers.MaxPooling2D(2)(shared(i))
    model = quantize_model(k.Model(i, [shared(i), shared(pooled)]), calibration_data=x, verbose=0)
    export(model, tmp_path / "net", engine=None, verbose=0)
    monkeypatch.setattr(onnxruntime, "saturates", lambda: False)
    runner = onnxruntime.ONNXRuntimeRunner(read_bundle(tmp_path / "net"))
    found = runner.run({runner.inputs[0].name: x})
    for output, y in zip(runner.outputs, model(x, training=False), strict=True):
        np.testing.assert_allclose(found[output.name], y, atol=0.1)


def test_int8_with_bfloat16_around_it_is_refused_with_a_way_out(k, tmp_path):
    model = k.Sequential([k.Input((8,)), k.layers.Dense(4)])
    x = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)
    model = quantize_model(model, calibration_data=x, verbose=0)
    export(model, tmp_path / "net", precision="int8+bf16", engine=None, verify=False, verbose=0)
    with pytest.raises(RunnerError, match=r"ONNX Runtime cannot load .*export with precision='int8'"):
        onnxruntime.ONNXRuntimeRunner(read_bundle(tmp_path / "net"))
