import json
import sys

import pytest

import keras_trt


def test_a_bundle_is_shown(run, bundle):
    ended = run("inspect", bundle)
    assert ended.code == 0
    assert "model.onnx" in ended.out
    assert json.loads(run("inspect", bundle, "--json").out)["manifest"]["name"] == "small"
    assert "computes in" in run("inspect", bundle, "--runner", "auto").out
    assert run("inspect", bundle, "-q") == (0, "", "")


def test_a_changed_file_is_exit_code_1(run, bundle):
    (bundle / "model.onnx").write_bytes(b"x")
    ended = run("inspect", bundle)
    assert ended.code == 1
    assert "missing or changed" in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent"], 1, "No bundle at"),
        (["."], 1, "is not a bundle"),
        (["small.bundle/model.onnx"], 1, "is a file, not a bundle folder"),
        (["small.bundle", "--runner", "fast"], 2, "--runner: `runner` must be one of"),
    ],
)
def test_wrong_input_is_one_line(bundle, failed, arguments, code, text):
    assert text in failed("inspect", *arguments, code=code)


def test_a_damaged_manifest_is_one_line(bundle, failed):
    (bundle / "manifest.json").write_text("{")
    assert "manifest.json` is not valid JSON" in failed("inspect", bundle)


def test_ctrl_c_is_130(bundle, failed, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[keras_trt.inspect.__module__], "files_of", interrupted)
    failed("inspect", bundle, code=130)
