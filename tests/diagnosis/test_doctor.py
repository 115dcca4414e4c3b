import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_trt
from keras_trt.diagnosis.doctor_report import DoctorReport, Installed, Tried
from keras_trt.engine import gpus
from keras_trt.errors import BundleError, MissingDependencyError
from keras_trt.measuring.machine import Machine
from tests.small_onnx import conv_model, save_bundle

subject = sys.modules[keras_trt.doctor.__module__]
ROOT = Path(__file__).parent.parent.parent


def by_runner(report):
    return {tried.runner: tried for tried in report.runners}


def test_every_runner_is_tried_and_the_one_of_load_is_named(tmp_path):
    report = keras_trt.doctor()
    tried = by_runner(report)
    assert tried["openvino"].works
    assert tried["onnxruntime"].works
    assert not tried["onnxruntime-tensorrt"].works
    assert "pip install onnxruntime-gpu" in tried["onnxruntime-tensorrt"].reason
    if not gpus():
        assert report.chosen == "openvino"
        assert "no NVIDIA GPU or driver here" in report.why
        assert tried["tensorrt_rtx"].reason == "needs an NVIDIA GPU and its driver; none is here"
    assert any("`[ray]` and `[triton]` do not share an environment" in note for note in report.notes)
    assert json.loads(report.to_json()) == report.to_dict()


def test_a_runner_that_computes_wrongly_is_told(monkeypatch):
    load = subject.load

    def wrong(path, runner="auto", **options):
        engine = load(path, runner, **options)
        if runner == "openvino":
            monkeypatch.setattr(engine, "predict_on_batch", np.abs, raising=False)
        return engine

    monkeypatch.setattr(subject, "load", wrong)
    tried = by_runner(keras_trt.doctor())["openvino"]
    assert (tried.works, tried.reason) == (False, "it computes relu wrongly")


def test_where_nothing_works_it_says_what_to_install(monkeypatch):
    def none(*_, **__):
        raise MissingDependencyError("no CPU runner is installed. Install one with: pip install openvino")

    monkeypatch.setattr(subject, "load", none)
    report = keras_trt.doctor()
    assert report.chosen is None
    assert "pip install openvino" in report.why


def test_a_users_bundle_is_tried(tmp_path):
    path = save_bundle(tmp_path / "net", conv_model())
    report = keras_trt.doctor(path)
    assert report.tried_on == str(path)
    assert by_runner(report)["openvino"].works
    with pytest.raises(BundleError, match="No bundle at"):
        keras_trt.doctor(tmp_path / "absent")


def test_it_loads_no_tensorflow_and_changes_nothing(tmp_path):
    code = (
        "import sys, keras_trt; keras_trt.doctor(); print({'tensorflow', 'keras', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    packages = (
        Installed(
            "tensorflow-model-optimization",
            ("keras",),
            ">=0.8.1",
            "0.8.0",
            False,
            "pip install -U 'a>=0.8.1'",
        ),
        Installed("keras", (), "<4,>=3.12", None, False, "pip install -U 'keras<4,>=3.12'"),
    )
    machine = Machine("A processor " * 9, 2, 2**34, "Linux", "3.11", (), "")
    tried = (Tried("onnxruntime-tensorrt", False, "a long reason " * 12),)
    report = DoctorReport(machine, packages, tried, None, "nothing is here", "a bundle", ("A note " * 20,))
    text = str(report)
    assert max(map(len, text.splitlines())) <= width
    assert "0.8.0: does not fit" in text
    assert "pip install -U 'a>=0.8.1'" in text
