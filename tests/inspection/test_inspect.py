import json
from dataclasses import replace

import pytest
from rich.cells import cell_len

import keras_trt
from keras_trt.bundle.read import read_bundle
from keras_trt.bundle.write import write_manifest
from keras_trt.errors import BundleError
from tests.small_onnx import conv_model, save_bundle, two_in_two_out


def test_a_bundle_is_described_with_all_it_says(tmp_path):
    report = keras_trt.inspect(
        save_bundle(tmp_path / "net", two_in_two_out(), axis_sizes={"time": (1, 4, 8)})
    )
    assert [file.name for file in report.files] == ["manifest.json", "model.onnx"]
    assert report.files[1].intact
    assert report.intact
    assert report.engine is None
    assert json.loads(report.to_json())["manifest"]["inputs"][1]["dtype"] == "int32"
    text = str(report)
    assert "(batch, 3)" in text
    assert "time 1/4/8" in text


def test_a_changed_file_is_seen_and_so_is_a_missing_probe(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    bundle = read_bundle(path)
    write_manifest(path, replace(bundle.manifest, probe_sha256="0" * 64))
    with (path / "model.onnx").open("ab") as file:
        file.write(b"x")
    report = keras_trt.inspect(path)
    states = {file.name: file.intact for file in report.files}
    assert states == {"manifest.json": None, "model.onnx": False, "probe.npz": False}
    assert not report.intact
    assert "missing or changed" in str(report)


def test_with_a_runner_it_tells_the_types(tmp_path):
    report = keras_trt.inspect(save_bundle(tmp_path / "net", conv_model()), runner="openvino")
    assert report.engine.runner == "openvino"
    assert any("u8" in one for layer in report.engine.layers for one in layer.computes_in)
    assert report.notes[0].startswith("It runs on openvino")


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(monkeypatch, tmp_path, width):
    monkeypatch.setenv("COLUMNS", str(width))
    path = save_bundle(tmp_path / "net", conv_model(), name="a network of a name that is long " * 4)
    text = str(keras_trt.inspect(path, runner="onnxruntime"))
    assert max(map(cell_len, text.splitlines())) <= width


def test_ranges_and_weights_are_drawn(tmp_path, rng):
    record = {"products": [{"layer": "conv1", "weights": ["kernel_q"]}]}
    facts = {"ranges": {"conv1/quantizer": 2.5}}
    path = save_bundle(tmp_path / "net", conv_model(), record=record, quantization=facts)
    ranges, weights = keras_trt.inspect(path).plot(tmp_path / "net.png").axes
    assert [bar.get_width() for bar in ranges.patches] == [2.5]
    assert weights.get_title() == "conv1 (int8)"
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    assert keras_trt.inspect(save_bundle(tmp_path / "old", conv_model())).plot().axes


def test_where_no_bundle_is_that_is_said(tmp_path):
    with pytest.raises(BundleError, match="No bundle at"):
        keras_trt.inspect(tmp_path / "absent")
