import json
import subprocess
import sys
from pathlib import Path

import pytest

import keras_trt

ROOT = Path(keras_trt.__file__).parent.parent


def test_a_page_is_written(run, bundle, tmp_path):
    assert run("benchmark", bundle, "--seconds", "0.02", "--batch", "1", "--save", "b.json", "-q").code == 0
    ended = run("report", bundle, "-o", "report.html", "--benchmark", "b.json")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert "Size and speed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    as_json = run("report", bundle, "-o", "report.html", "--json")
    assert json.loads(as_json.out)["manifest"]["name"] == "small"


def test_a_card_is_written(run, bundle):
    ended = run("report", bundle, "-o", bundle / "README.md", "--repo", "me/net")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert 'snapshot_download("me/net")' in (bundle / "README.md").read_text(encoding="utf-8")


def test_a_bundle_of_tensorflows_bridge_is_told(failed, tmp_path):
    facts = {"route": "tf-trt", "precision_mode": "FP32", "engines": 1, "keras": "keras3"}
    (tmp_path / "bridge" / "saved_model").mkdir(parents=True)
    (tmp_path / "bridge" / "manifest.json").write_text(json.dumps(facts))
    for arguments in (
        ("report", "bridge", "-o", "r.html"),
        ("inspect", "bridge"),
        ("triton", "bridge", "-o", "m"),
    ):
        assert "TensorFlow runs it, keras_trt does not. Load it with: tf.saved_model.load" in failed(
            *arguments
        )


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "probe.npz", "plans/tensorrt_rtx-SM89.plan"])
def test_a_bundles_own_files_are_not_written_over(failed, bundle, name):
    (bundle / "plans").mkdir()
    assert "The bundle `" in failed("report", bundle, "-o", bundle / name)
    failed("benchmark", bundle, "--save", bundle / name)
    assert keras_trt.inspect(bundle).intact


def test_a_name_that_the_hub_refuses_is_wrong_usage(failed, bundle):
    for name in ("a b", "a/b/c", "-a", "a/", "x" * 97):
        assert "--repo: `repo_id` must be" in failed("report", bundle, "-o", "R.md", f"--repo={name}", code=2)


def test_it_goes_to_a_pipe(bundle):
    command = [sys.executable, "-m", "keras_trt", "report", str(bundle), "-o", "/dev/stdout"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent", "-o", "r.html"], 1, "No bundle at"),
        (["small.bundle", "-o", "no/such/r.html"], 1, "There is no folder"),
        (["small.bundle", "-o", "small.bundle/manifest.json/r.html"], 1, "is a file, no folder"),
        (["small.bundle", "-o", "report.pdf"], 2, "a page is an .html file"),
        (["small.bundle", "-o", "."], 1, "A folder is not replaced by a file"),
        (["small.bundle", "-o", "small.bundle"], 2, "--output would replace what BUNDLE names"),
        (["small.bundle", "-o", "r.html", "--benchmark", "absent.json"], 1, "cannot be read"),
        (
            ["small.bundle", "-o", "r.html", "--benchmark", "small.bundle/manifest.json"],
            1,
            "must be the report",
        ),
        (["small.bundle"], 2, "-o/--output"),
        (["small.bundle", "-o", "README.md", "--benchmark", "b.json"], 2, "--benchmark is shown on a page"),
        (["small.bundle", "-o", "r.html", "--repo", "me/net"], 2, "--repo is for a card: -o README.md"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, arguments, code, text):
    assert text in failed("report", *arguments, code=code)


def test_ctrl_c_leaves_no_page(bundle, failed, monkeypatch):
    from keras_trt.inspection.page import page as subject

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(subject, "histograms", interrupted)
    failed("report", bundle, "-o", "report.html", code=130)
