"""Which of Keras, the exported file and a runner is off."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest

from keras_trt.bundle import read_bundle
from keras_trt.bundle.probe import read_probe
from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from keras_trt.runtime.runners import cpu
from tests.nets import images, residual_net

QUIET = {"engine": None, "verbose": 0}


def spoiled(setting, factor):
    """The setting with a runtime that computes something else."""

    def make(bundle):
        runner = setting.make(bundle)
        right = runner.run
        runner.run = lambda feeds: {name: y * factor for name, y in right(feeds).items()}
        return runner

    return dataclasses.replace(setting, make=make)


@pytest.fixture
def quantized(k):
    return quantize_model(residual_net(k), calibration_data=images()[0], verbose=0)


def test_a_wrong_runner_does_not_make_a_right_file_wrong(quantized, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "saturates", lambda: False)  # so that the first is tried on any processor
    first, *others = cpu._SETTINGS
    monkeypatch.setattr(cpu, "_SETTINGS", (spoiled(first, 1.2), *others))
    report = export(quantized, tmp_path / "net", **QUIET)
    assert (report.verified_with, report.verified_without) == ("openvino", "its int8 arithmetic")
    assert "(openvino without its int8 arithmetic)" in " ".join(str(report).replace("│", " ").split())
    assert any("openvino computes this file wrongly (output" in note for note in report.notes)
    assert "its int8 arithmetic" not in load(tmp_path / "net", "onnxruntime", verbose=0).runner.reason


def test_runners_that_agree_put_the_blame_on_the_file(quantized, tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "_SETTINGS", tuple(spoiled(s, 1.5) for s in cpu._SETTINGS))
    with pytest.raises(ExportError, match="The runners agree with one another, so the exported file is off"):
        export(quantized, tmp_path / "net", **QUIET)


def test_runners_that_differ_are_blamed_too(quantized, tmp_path, monkeypatch):
    settings = tuple(spoiled(s, 2.0 + i) for i, s in enumerate(cpu._SETTINGS))
    monkeypatch.setattr(cpu, "_SETTINGS", settings)
    with pytest.raises(ExportError, match="The runners differ from one another, too"):
        export(quantized, tmp_path / "net", **QUIET)


@pytest.mark.parametrize("factor", [1 / 3, 0.9, 1.1, 3.0])
@pytest.mark.parametrize("with_data", [True, False])
def test_a_wrong_activation_range_is_found(k, tmp_path, monkeypatch, factor, with_data):
    import importlib

    L = k.layers
    model = k.Sequential(
        [
            k.Input((16, 16, 3)),
            L.Rescaling(1 / 255),
            L.Conv2D(4, 3, name="c", bias_initializer="ones"),
            L.Flatten(),
            L.Dense(3),
        ]
    )
    x = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    module = importlib.import_module("keras_trt.packing.write")
    original = module.write_onnx

    def wrong(graph, folder, **options):
        found = original(graph, folder, **options)
        file = folder / "model.onnx"
        proto = onnx.load(file)
        (scale,) = {n.input[1] for n in proto.graph.node if n.op_type == "QuantizeLinear" and "c/" in n.name}
        for tensor in proto.graph.initializer:
            if tensor.name == scale:
                value = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, scale))
        onnx.save(proto, file)
        return found

    monkeypatch.setattr(module, "write_onnx", wrong)
    with pytest.raises(ExportError, match="so the exported file is off|Layer 'c': .* no range of the Keras"):
        export(quantized, tmp_path / "net", calibration_data=x if with_data else None, **QUIET)


def test_the_first_wrong_layer_is_named(k, tmp_path, monkeypatch):
    from keras_trt.exporting import export_onnx

    original = export_onnx.convert

    def wrong(traced, opset):
        graph = original(traced, opset)
        node = next(n for n in graph.graph if n.op_type == "Relu")
        node.op_type = "Sigmoid"
        return graph

    monkeypatch.setattr(export_onnx, "convert", wrong)
    model = k.Sequential([k.Input((6,)), k.layers.Dense(5, name="a"), k.layers.ReLU(name="b")])
    with pytest.raises(ExportError, match="The first layer that differs is 'b'"):
        export(model, tmp_path / "net", **QUIET)


def test_the_bundle_carries_the_rows_and_what_keras_makes_of_them(quantized, tmp_path):
    x = images()[0]
    report = export(quantized, tmp_path / "net", calibration_data=x, **QUIET)
    probe = read_probe(read_bundle(tmp_path / "net"))
    (rows,) = probe.inputs.values()
    np.testing.assert_array_equal(rows, np.resize(x, rows.shape))
    (held,) = probe.expected.values()
    expected = quantized.predict(rows, verbose=0)
    np.testing.assert_allclose(held.sample.reshape(expected.shape), expected, atol=0.02)
    assert report.differences[0]["allowed"] == held.allowed


@pytest.mark.parametrize("options", [{"probe": False}, {"verify": False}])
def test_private_rows_stay_out_of_the_bundle(quantized, tmp_path, options):
    x = images()[0]
    export(quantized, tmp_path / "net", calibration_data=x, **QUIET, **options)
    probe = read_probe(read_bundle(tmp_path / "net"))
    (rows,) = probe.inputs.values()
    assert not np.array_equal(rows, x[:2])
    assert probe.expected is None
    assert load(tmp_path / "net", verbose=0).predict(x[:4], verbose=0).shape[0] == 4


def test_keras_that_computes_otherwise_eagerly_is_asked_as_predict_asks_it(k, tmp_path):
    i = k.Input((20, 20, 3), dtype="uint8")
    model = k.Model(i, k.layers.Rescaling(1 / 255)(k.layers.Resizing(16, 16)(i)))
    export(model, tmp_path / "net", **QUIET)
    x = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3)).astype("uint8")
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(load(tmp_path / "net", verbose=0).predict(x, verbose=0), expected, atol=1e-5)


def test_keras_that_computes_otherwise_eagerly_is_asked_so_of_unrounded_activations_too(k, tmp_path):
    i = k.Input((20, 20, 1), dtype="uint8")
    h = k.layers.Rescaling(1 / 127.5, offset=-1)(k.layers.Resizing(16, 16)(i))
    model = k.Model(i, k.layers.Dense(4)(k.layers.Flatten()(k.layers.Conv2D(4, 3)(h))))
    x = np.random.default_rng(0).integers(0, 256, (16, 20, 20, 1)).astype("uint8")
    model = quantize_model(model, calibration_data=x, verbose=0)
    export(model, tmp_path / "net", calibration_data=x, **QUIET)
    found = load(tmp_path / "net", verbose=0).predict(x, verbose=0)
    expected = model.predict(x, verbose=0)
    assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).mean()


def test_two_equal_outputs_both_come_back(k, tmp_path):
    i = k.Input((5,))
    a, b = k.layers.Dense(3, name="a"), k.layers.Dense(3, name="b")
    model = k.Model(i, [a(i), b(i)])
    b.set_weights(a.get_weights())
    export(model, tmp_path / "net", **QUIET)
    x = np.random.default_rng(0).random((2, 5), dtype=np.float32)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner, verbose=0).predict(x, verbose=0)
        np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-5)
