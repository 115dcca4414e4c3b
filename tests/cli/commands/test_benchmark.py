import json
import sys

import pytest

import keras_trt
from tests.small_onnx import conv_model, save_bundle

pytestmark = pytest.mark.usefixtures("few_objects")
QUICK = ("--seconds", "0.02", "--batch", "1,2")


def test_bundles_are_measured_and_written(run, bundle, tmp_path):
    save_bundle(tmp_path / "other", conv_model(int8=False))
    ended = run("benchmark", "small.bundle", "float=other", *QUICK, "--save", "b.json", "--plot", "b.svg")
    assert ended.code == 0, ended.err
    assert "Batches of 2" in ended.out
    report = json.loads((tmp_path / "b.json").read_text())
    assert [c["label"] for c in report["contenders"]] == ["small", "float"]
    assert "<svg" in (tmp_path / "b.svg").read_text()
    as_json = run("benchmark", "small.bundle", *QUICK, "--json", "--against", "onnxruntime")
    assert [c["runner"] for c in json.loads(as_json.out)["contenders"]] == ["openvino", "onnxruntime"]


def test_a_model_beside_its_bundle_with_a_metric(run, model_file):
    assert run("export", model_file, "-o", "net.bundle", "--engine", "none", "-q").code == 0
    options = ["--model", model_file, "--data", "rows.npz", "--metric", "accuracy"]
    ended = run("benchmark", "net.bundle", *options, *QUICK, "--json")
    assert ended.code == 0, ended.err
    contenders = json.loads(ended.out)["contenders"]
    assert [c["label"] for c in contenders] == ["net", "keras"]
    assert contenders[0]["metric"] == pytest.approx(contenders[1]["metric"], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent"], 1, "No bundle at"),
        (["small.bundle", "--model", "absent.keras"], 1, "There is no model"),
        (["small.bundle", "--data", "absent.npy"], 1, "cannot be read"),
        (["small.bundle", "--runner", "fast"], 2, "--runner: `runner` must be one of"),
        (["small.bundle", "--against", "fast"], 2, "--against: `against` must be"),
        (["small.bundle", "--against", "keras"], 2, "give --model, too"),
        (["small.bundle", "--batch", "1000000000000"], 2, "--batch: `batch_sizes` must fit into memory"),
        (["small.bundle", "--save", "no/such/b.json"], 1, "There is no folder"),
        (["small.bundle", "--save", "small.bundle"], 1, "A folder is not replaced by a file"),
        (["small.bundle", "--plot", "b.txt"], 1, "A picture is one of"),
        (["small.bundle", "--threads", "100000"], 2, "--threads: `threads` must be numbers up to 1024"),
        (["small.bundle", "--data", "x.npz", "--save", "x.npz"], 2, "would replace what --data names"),
        (["small.bundle", "--metric", "accuracy"], 2, "--metric is measured on --data: give both. See: "),
        (["small.bundle", "--seconds", "-1"], 2, "--seconds: `seconds` must be"),
        (["small.bundle", "a/small.bundle"], 2, "NAME=BUNDLE"),
        (["small.bundle", "--threads", "0"], 2, "a whole number >= 1"),
        ([], 2, "BUNDLE"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, arguments, code, text):
    assert text in failed("benchmark", *QUICK, "-q", *arguments, code=code)


def test_ctrl_c_is_130(bundle, failed, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[keras_trt.benchmark.__module__], "take_turns", interrupted)
    failed("benchmark", bundle, *QUICK, "-q", "--save", "b.json", code=130)
