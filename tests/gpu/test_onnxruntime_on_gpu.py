"""Bundles on a real GPU by ONNX Runtime's CUDA provider: real inference, without Keras."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.engine import gpus
from keras_trt.runtime import load
from tests.small_onnx import conv_model, save_bundle, sequence_model, two_in_two_out

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpus(), reason="no NVIDIA GPU or driver here")]
CUDA = "onnxruntime-cuda"
TF32 = 3e-3


@pytest.fixture(autouse=True)
def provider():
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
    if hasattr(ort, "preload_dlls"):
        pytest.importorskip("torch")  # brings CUDA's libraries
        ort.preload_dlls()


@pytest.mark.parametrize("rows", [1, 7, 40])
@pytest.mark.parametrize("int8", [False, True])
def test_a_convolution_is_right_at_any_batch(tmp_path, rng, int8, rows):
    path = save_bundle(tmp_path / "b", conv_model(int8=int8), precision="int8" if int8 else "float32")
    x = rng.normal(size=(rows, 4, 8, 8)).astype(np.float32)
    with load(path, CUDA, verbose=0) as engine, load(path, "onnxruntime", verbose=0) as cpu:
        assert engine.runner.name == CUDA
        y, expected = engine.predict(x, verbose=0), cpu.predict(x, verbose=0)
    assert np.linalg.norm(y - expected) / np.linalg.norm(expected) < TF32


def test_names_and_types_are_those_of_the_manifest(tmp_path, rng):
    a, b = rng.normal(size=(4, 3)).astype(np.float32), rng.integers(0, 9, (4, 3)).astype(np.int32)
    with load(save_bundle(tmp_path / "b", two_in_two_out()), CUDA, verbose=0) as engine:
        total, product = engine.predict([a, b], verbose=0)
    np.testing.assert_allclose(total, a + b, rtol=1e-6)
    np.testing.assert_allclose(product, a * b, rtol=1e-6)


def test_open_axes_stay_open(tmp_path, rng):
    path = save_bundle(tmp_path / "b", sequence_model(), axis_sizes={"time": (1, 6, 64)})
    with load(path, CUDA, verbose=0) as engine, load(path, "onnxruntime", verbose=0) as cpu:
        for steps in (3, 50):
            x = rng.normal(size=(2, steps, 4)).astype(np.float32)
            y, expected = engine.predict(x, verbose=0), cpu.predict(x, verbose=0)
            assert y.shape == (2, steps, 2)
            assert np.linalg.norm(y - expected) / np.linalg.norm(expected) < TF32
