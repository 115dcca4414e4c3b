"""ONNX Runtime with its optimisations."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime
import pytest

from keras_trt._machine import deps
from keras_trt.bundle import read_bundle
from keras_trt.errors import MissingDependencyError, RunnerError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from keras_trt.runtime.runners.onnxruntime.runner import ONNXRuntimeRunner
from tests.small_onnx import conv_model, save_bundle


def test_a_layer_that_is_called_more_than_once_is_optimised_too(k, tmp_path):
    i, shared = k.Input((8, 8, 4)), k.layers.Conv2D(4, 3, padding="same", activation="relu")
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 4)).astype(np.float32)
    pooled = k.layers.MaxPooling2D(2)(shared(i))
    model = quantize_model(k.Model(i, [shared(i), shared(pooled)]), calibration_data=x, verbose=0)
    export(model, tmp_path / "net", engine=None, verbose=0)
    runner = ONNXRuntimeRunner(read_bundle(tmp_path / "net"))
    found = runner.run({runner.inputs[0].name: x})
    for output, y in zip(runner.outputs, model(x, training=False), strict=True):
        np.testing.assert_allclose(found[output.name], y, atol=0.1)


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("precision", ["bf16", "int8+bf16", "fp16", "int8+fp16"])
def test_a_cpu_computes_narrow_floats_in_float32(k, tmp_path, rng, precision, runner):
    model = k.Sequential(
        [
            k.Input((8, 8, 3)),
            k.layers.Conv2D(6, 3, bias_initializer="normal", activation="relu"),
            k.layers.Flatten(),
            k.layers.Dense(4),
        ]
    )
    x = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)
    if precision.startswith("int8"):
        model = quantize_model(model, calibration_data=x, verbose=0)
    export(model, tmp_path / "net", precision=precision, engine=None, verify=False, verbose=0)
    engine = load(tmp_path / "net", runner, verbose=0)
    found, expected = engine.predict(x, verbose=0), model.predict(x, verbose=0)
    assert found.dtype == engine.outputs[0].dtype
    assert np.linalg.norm(found - expected) <= 0.05 * np.linalg.norm(expected)


def test_without_onnx_ir_the_file_runs_as_it_is(tmp_path, rng, monkeypatch, caplog):
    path = save_bundle(tmp_path / "b", conv_model())
    bundle = read_bundle(path)
    bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, precision="int8"))
    monkeypatch.setattr(deps, "available", lambda module: module != "onnx_ir")
    with caplog.at_level("INFO", logger="keras_trt"):
        runner = ONNXRuntimeRunner(bundle)
    assert "pip install onnx-ir" in caplog.text
    name, shape = runner.inputs[0].name, (2, *runner.inputs[0].shape[1:])
    assert np.isfinite(runner.run({name: rng.normal(size=shape).astype(np.float32)})["y"]).all()


@pytest.mark.parametrize(
    ("runner", "provider"),
    [
        ("onnxruntime-cuda", "CUDAExecutionProvider"),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider"),
    ],
)
def test_a_provider_that_is_not_there_is_named_with_the_way_to_get_it(
    tmp_path, monkeypatch, runner, provider
):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    path = save_bundle(tmp_path / "b", conv_model())
    with pytest.raises(MissingDependencyError, match=rf"{provider}.*pip install onnxruntime-gpu"):
        load(path, runner, verbose=0)


def test_a_provider_that_does_not_start_is_an_error_not_the_cpu(tmp_path, monkeypatch):
    class Fallback(onnxruntime.InferenceSession):  # as where CUDA's libraries are missing
        def __init__(self, *arguments, providers, **options):
            super().__init__(*arguments, providers=["CPUExecutionProvider"], **options)

    given = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: given)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallback)
    path = save_bundle(tmp_path / "b", conv_model())
    with pytest.raises(RunnerError, match="could not start its CUDAExecutionProvider.*runner='onnxruntime'"):
        load(path, "onnxruntime-cuda", verbose=0)
    assert load(path, "onnxruntime", verbose=0).runner.name == "onnxruntime"
