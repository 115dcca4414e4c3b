import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_trt

pytest.importorskip("tensorrt_rtx")

ROOT = Path(__file__).parent.parent.parent.parent


def test_a_plan_is_added_and_told_as_json(run, bundle):
    ended = run("build", bundle, "--engine", "tensorrt_rtx", "--for", "SM89", "--json")
    assert ended.code == 0, ended.err
    (plan,) = json.loads(ended.out)["plans"]
    assert plan["compute_capabilities"] == ["SM89"]
    assert (bundle / "plans" / "tensorrt_rtx-SM89.plan").is_file()
    again = run("build", bundle, "--engine", "tensorrt_rtx", "--for", "SM89")
    assert "reused" in again.out


def test_options_of_the_builder_reach_it(run, bundle, tmp_path):
    ended = run(
        "build", bundle, "--engine", "tensorrt_rtx", "--for", "SM89", "--into", "plans", "--json",
        "--set", "optimization_level=0", "--set", "workspace=100000000",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (plan,) = json.loads(ended.out)["plans"]
    assert plan["config"]["workspace"] == 100000000
    assert str(tmp_path / "plans") in plan["file"]


def test_what_is_to_be_kept_reaches_it(run, bundle, failed):
    ended = run("build", bundle, "--engine", "tensorrt_rtx", "--for", "SM89", "--keep", "fastest", "--json")
    assert ended.code == 0, ended.err
    assert "nothing to compare" in json.loads(ended.out)["notes"][0], "it is in float32"
    assert "invalid choice: 'smallest'" in failed("build", bundle, "--keep", "smallest", code=2)


def test_it_imports_no_tensorflow(bundle):
    code = (
        "import sys; from keras_trt.cli.main import main; code = main(sys.argv[1:]); "
        "print(code, {'tensorflow', 'keras', 'tf_keras'} & set(sys.modules))"
    )
    arguments = ["build", str(bundle), "--engine", "tensorrt_rtx", "--for", "SM89", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "0 set()"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["absent"], 1, "No bundle at"),
        (["."], 1, "is not a bundle"),
        (["small.bundle", "--for", "89"], 2, "--for: `compute_capabilities`"),
        (["small.bundle", "--engine", "tensorrt_rtx", "--for", "SM99"], 2, "Received: ['SM99']"),
        (["small.bundle", "--into", ""], 2, "--into: a path is needed"),
        (["small.bundle", "--set", "optimization_level=9"], 2, "--set: `optimization_level`"),
        (["small.bundle", "--into", "small.bundle/model.onnx"], 1, "which is a file"),
        (
            ["small.bundle", "--into", "/dev/null/plans"],
            1,
            "`into` must be the path of a folder that can be written",
        ),
        (["small.bundle", "--set", "fast"], 2, "name=value is needed"),
        (["small.bundle", "--set", "fast=1"], 2, "EngineConfig has no 'fast'. It has: profiles,"),
        (["small.bundle", "--engine", "tensorflow"], 2, "invalid choice"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(bundle, failed, arguments, code, text):
    assert text in failed("build", *arguments, code=code)


def test_ctrl_c_while_it_builds_leaves_the_bundle_as_it_was(bundle, failed, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[keras_trt.build.__module__], "plan_for", interrupted)
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / "plans").mkdir()
    (bundle / "plans" / ".lock").touch()  # stays, so that processes have one to wait for
    failed("build", bundle, "--engine", "tensorrt_rtx", "-q", code=130)
    assert (bundle / "manifest.json").read_bytes() == manifest
