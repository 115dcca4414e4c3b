"""Bundles in the cache of the Hugging Face Hub: a folder of links to files named by their hashes."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as `upload_folder` asks for; what it commits is in the server's `files`."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        answer = {}
        if self.path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            answer = {"files": [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in files]}
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    assert line["value"]["encoding"] == "base64"
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            answer = {
                "commitUrl": f"http://{self.headers['Host']}/me/net/commit/{COMMIT}",
                "commitOid": COMMIT,
            }
        elif self.path.endswith("/validate-yaml"):
            assert "library_name: keras-trt" in json.loads(body)["content"]
            answer = {"warnings": [], "errors": []}
        self._answer(answer)

    def do_GET(self):
        self._answer({"id": "me/net", "sha": COMMIT, "siblings": [], "tags": []})

    def _answer(self, answer):
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files = {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_what_upload_folder_commits_is_the_bundle_with_its_card(tmp_path, server):
    """By the Hub's own client, to a server that answers as the Hub does, which is out of reach here."""
    bundle = Path(save_bundle(tmp_path / "b", conv_model()))
    keras_trt.inspect(bundle).to_card(bundle / "README.md", repo_id="me/net")
    api = hub.HfApi(endpoint=f"http://127.0.0.1:{server.server_port}", token="hf_none")
    api.upload_folder(repo_id="me/net", folder_path=bundle)
    assert server.files.keys() == {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    for name, data in server.files.items():
        (tmp_path / "back" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "back" / name).write_bytes(data)
    assert keras_trt.inspect(tmp_path / "back").intact
