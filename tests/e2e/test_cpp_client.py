"""The C++ example predicts what `load(...).predict` does, with the real compiler and OpenVINO's headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import keras_trt
from tests.small_onnx import conv_model, save_bundle, two_in_two_out

openvino = pytest.importorskip("openvino")

SOURCE = Path(__file__).parent.parent.parent / "examples" / "cpp"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("cmake") is None or shutil.which("g++") is None:
        pytest.skip("no cmake or g++")
    build = tmp_path_factory.mktemp("build")
    cmake = f"-DOpenVINO_DIR={openvino.__path__[0]}/cmake"
    made = subprocess.run(
        ["cmake", "-S", SOURCE, "-B", build, cmake], check=False, capture_output=True, text=True
    )
    if made.returncode and "nlohmann_json" in made.stderr:
        pytest.skip("no nlohmann-json3-dev")
    assert made.returncode == 0, made.stderr
    subprocess.run(["cmake", "--build", build], check=True, capture_output=True)
    return build / "predict"


def run(program, *arguments):
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("int8", [False, True])
def test_an_image_network(program, tmp_path, rng, int8, rows):
    bundle = save_bundle(tmp_path / "b", conv_model(int8=int8))
    x = rng.normal(size=(rows, 4, 8, 8)).astype(np.float32)
    (tmp_path / "in").mkdir()
    x.tofile(tmp_path / "in" / "x.bin")
    done = run(program, bundle, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    y = np.fromfile(tmp_path / "out" / "y.bin", np.float32).reshape(rows, 8, 8, 8)
    expected = keras_trt.load(bundle, "openvino", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_inputs_and_outputs_go_by_the_names_of_the_manifest(program, tmp_path, rng):
    bundle = save_bundle(tmp_path / "b", two_in_two_out())
    feeds = {
        "a": rng.normal(size=(4, 3)).astype(np.float32),
        "b": rng.integers(0, 9, (4, 3)).astype(np.int32),
    }
    (tmp_path / "in").mkdir()
    for name, x in feeds.items():
        x.tofile(tmp_path / "in" / f"{name}.bin")
    done = run(program, bundle, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    for name, expected in {"total": feeds["a"] + feeds["b"], "product": feeds["a"] * feeds["b"]}.items():
        y = np.fromfile(tmp_path / "out" / f"{name}.bin", np.float32).reshape(4, 3)
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_what_is_wrong_is_said_in_one_line(program, tmp_path):
    bundle = save_bundle(tmp_path / "b", conv_model())
    (tmp_path / "in").mkdir()
    missing = run(program, bundle, tmp_path / "in", tmp_path / "out")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "x.bin" in missing.stderr
    np.zeros(100, np.float32).tofile(tmp_path / "in" / "x.bin")
    odd = run(program, bundle, tmp_path / "in", tmp_path / "out")
    assert odd.returncode == 1
    assert "input x: 400 bytes are no whole rows of 1024" in odd.stderr
    assert run(program).returncode == 2
