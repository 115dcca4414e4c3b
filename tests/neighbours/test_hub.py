"""Bundles in the cache of the Hugging Face Hub: a folder of links to files named by their hashes."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

import keras_trt
from tests.small_onnx import conv_model, save_bundle

hub = pytest.importorskip("huggingface_hub", reason="`tox -e neighbours` runs it")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def downloaded(folder, cache):
    """What `snapshot_download` makes of a repository that `upload_folder` has filled."""
    repository = cache / "models--me--net"
    snapshot, blobs = repository / "snapshots" / COMMIT, repository / "blobs"
    blobs.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (folder / "README.md").write_text("---\nlibrary_name: keras-trt\n---\n")
    (folder / ".gitattributes").write_text("*.onnx filter=lfs\n")
    for file in (file for file in folder.rglob("*") if file.is_file()):
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return hub.snapshot_download("me/net", cache_dir=cache, local_files_only=True)


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
def test_a_snapshot_is_a_bundle(tmp_path, runner):
    bundle = save_bundle(tmp_path / "b", conv_model())
    snapshot = downloaded(bundle, tmp_path / "cache")
    x = np.random.default_rng(0).normal(size=(3, 4, 8, 8)).astype("float32")
    with (
        keras_trt.load(snapshot, runner, verbose=0) as engine,
        keras_trt.load(bundle, runner, verbose=0) as own,
    ):
        np.testing.assert_array_equal(engine.predict(x, verbose=0), own.predict(x, verbose=0))
    assert keras_trt.inspect(snapshot).intact
    assert keras_trt.triton(snapshot, tmp_path / "models", backend="onnx", verbose=0)


def test_weights_beside_the_graph_are_found_behind_links(k, tmp_path):
    """OpenVINO refuses links that lead out of the folder; ONNX Runtime takes its place."""
    model = k.Sequential([k.Input((64,)), k.layers.Dense(64, name="d")])
    keras_trt.export(model, tmp_path / "b", engine=None, external_data=True, verbose=0)
    snapshot = downloaded(tmp_path / "b", tmp_path / "cache")
    x = np.ones((2, 64), "float32")
    with keras_trt.load(snapshot, verbose=0) as engine:
        np.testing.assert_allclose(engine.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4)


def test_a_link_to_a_whole_bundle_is_one(k, tmp_path):
    model = k.Sequential([k.Input((64,)), k.layers.Dense(64, name="d")])
    keras_trt.export(model, tmp_path / "v1", engine=None, external_data=True, verbose=0)
    (tmp_path / "current").symlink_to(tmp_path / "v1")
    with keras_trt.load(tmp_path / "current", verbose=0) as engine:
        assert engine.predict(np.ones((2, 64), "float32"), verbose=0).shape == (2, 64)
