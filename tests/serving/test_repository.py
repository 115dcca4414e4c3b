"""`triton`: a model repository that Triton's own schema takes, and its real server too (`tox -e triton`)."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

import keras_trt
from keras_trt.bundle import PlanStamp, sha256_of
from keras_trt.errors import InputError
from keras_trt.serving.entry import entry_of
from tests.serving.test_serve import ask, client, free_ports, pytriton, rows, scores
from tests.small_onnx import conv_model, save_bundle, sequence_model, two_in_two_out

LABELS = tuple(f"class {i}" for i in range(8))
MODELS = {
    "int8": conv_model,
    "static": lambda: conv_model(int8=False, batch=4),
    "two": two_in_two_out,
    "sequence": sequence_model,
    "scores": scores,
}
CHANGES = {
    "static": {"batch": (4, 4, 4)},
    "int8": {"metadata": {"größe": 'a "b"\n\\'}, "labels": {"y": LABELS}},
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    return {
        name: save_bundle(folder / name, make(), **CHANGES.get(name, {})) for name, make in MODELS.items()
    }


def parsed(path):
    """A config as Triton's own schema reads it."""
    pb = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient; see `tox -e triton`")
    from google.protobuf import text_format

    return text_format.Parse((path / "config.pbtxt").read_text(), pb.ModelConfig()), pb


def axes(info):
    return [d.dim_value or -1 for d in info.type.tensor_type.shape.dim]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_names_dims_and_batch_are_those_of_the_graph(name, bundles, tmp_path):
    written = keras_trt.triton({name: bundles[name]}, tmp_path, verbose=0)
    assert written == {name: tmp_path / name / "1"}
    config, pb = parsed(tmp_path / name)
    graph = onnx.load(tmp_path / name / "1" / config.default_model_filename).graph
    assert (config.name, config.backend) == (name, "onnxruntime")
    assert config.max_batch_size == (0 if name == "static" else 32)
    assert config.HasField("dynamic_batching") == (name != "static")
    for ports, infos in ((config.input, graph.input), (config.output, graph.output)):
        for port, info in zip(ports, infos, strict=True):
            dims = axes(info)[config.max_batch_size > 0 :]
            seen = list(port.reshape.shape) if port.HasField("reshape") else list(port.dims)
            assert (port.name, seen) == (info.name, dims)
            element = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type).name
            kinds = {"float32": pb.TYPE_FP32, "int32": pb.TYPE_INT32}
            assert port.data_type == kinds[element]


def test_labels_metadata_and_warm_up_come_along(bundles, tmp_path):
    keras_trt.triton({"int8": bundles["int8"]}, tmp_path, instances=3, max_delay_us=77, verbose=0)
    model = tmp_path / "int8"
    assert (model / "labels_0.txt").read_text().splitlines() == list(LABELS)
    rows_ = np.fromfile(model / "warmup" / "input_0", np.float32)
    assert rows_.size % (4 * 8 * 8) == 0
    config, _ = parsed(model)
    assert config.output[0].label_filename == "labels_0.txt"
    assert json.loads(config.parameters["metadata"].string_value) == CHANGES["int8"]["metadata"]
    assert config.instance_group[0].count == 3
    assert config.dynamic_batching.max_queue_delay_microseconds == 77
    (warm,) = config.model_warmup
    assert warm.batch_size * 4 * 8 * 8 == rows_.size
    assert warm.inputs["x"].input_data_file == "input_0"
    assert str(tmp_path) in (tmp_path / "README.md").read_text()


def with_plans(folder, *capabilities, kind="tensorrt"):
    """A bundle with plans that no GPU has built."""
    path = save_bundle(folder, conv_model())
    stamps = []
    (path / "plans").mkdir()
    for capability in capabilities:
        file = path / "plans" / f"{capability}.plan"
        file.write_bytes(capability.encode())
        facts = {"file": f"plans/{file.name}", "kind": kind, "version": "10.9", "os": "linux"}
        digest = keras_trt.bundle.read_bundle(path).manifest.onnx_sha256
        stamps.append(
            PlanStamp(
                **facts,
                compute_capabilities=(capability,),
                onnx_sha256=digest,
                bytes=file.stat().st_size,
                sha256=sha256_of(file),
            )
        )
    shutil.move(path, folder.with_name("aside"))
    moved = folder.with_name("aside")
    final = save_bundle(folder, conv_model(), plans=())
    shutil.copytree(moved / "plans", final / "plans")
    from dataclasses import replace

    from keras_trt.bundle import read_bundle, write_manifest

    write_manifest(final, replace(read_bundle(final).manifest, plans=tuple(stamps)))
    return final


def test_plans_of_tensorrt_are_taken_each_on_its_gpu(tmp_path):
    path = with_plans(tmp_path / "b", "SM89", "SM120")
    keras_trt.triton({"net": path}, tmp_path / "repo", verbose=0)
    config, _ = parsed(tmp_path / "repo" / "net")
    version = tmp_path / "repo" / "net" / "1"
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    files = {cc: (version / file).read_text() for cc, file in config.cc_model_filenames.items()}
    assert files == {"8.9": "SM89", "12.0": "SM120"}


def test_of_two_plans_for_one_gpu_the_first_is_served(tmp_path):
    path = with_plans(tmp_path / "b", "SM89", "SM120")
    manifest = keras_trt.bundle.read_bundle(path).manifest
    other = dataclasses.replace(manifest.plans[1], compute_capabilities=("SM89",), precision="fp16")
    keras_trt.bundle.write_manifest(path, dataclasses.replace(manifest, plans=(manifest.plans[0], other)))
    entry = entry_of("net", keras_trt.bundle.read_bundle(path), "auto")
    assert {number: entry.files[file].read_text() for number, file in entry.capabilities.items()} == {
        "8.9": "SM89"
    }


def test_a_bundle_without_such_a_plan_says_how_to_build_one(bundles, tmp_path):
    with pytest.raises(
        InputError, match=r"no plan of TensorRT, .* It has: none. Build one .*keras_trt.build\("
    ):
        keras_trt.triton({"int8": bundles["int8"]}, tmp_path / "r", backend="tensorrt")
    rtx = with_plans(tmp_path / "b", "SM89", kind="tensorrt_rtx")
    with pytest.raises(InputError, match=r"It has: \['tensorrt_rtx'\]"):
        keras_trt.triton(rtx, tmp_path / "r", backend="tensorrt")
    assert not (tmp_path / "r").exists()


def test_a_new_version_stands_beside_the_old_one_and_the_config_stays(bundles, tmp_path):
    keras_trt.triton({"int8": bundles["int8"]}, tmp_path, verbose=0)
    config = tmp_path / "int8" / "config.pbtxt"
    edited = config.read_text().replace("count: 1", "count: 5")
    config.write_text(edited)
    assert keras_trt.triton({"int8": bundles["int8"]}, tmp_path, verbose=0)["int8"].name == "2"
    assert config.read_text() == edited
    assert {p.name for p in (tmp_path / "int8").iterdir()} == {
        "1",
        "2",
        "config.pbtxt",
        "labels_0.txt",
        "warmup",
    }
    with pytest.raises(InputError, match="is of another model: versions of one model have the same"):
        keras_trt.triton({"int8": bundles["two"]}, tmp_path)
    assert not (tmp_path / "int8" / "3").exists()


def test_a_version_that_cannot_be_written_leaves_nothing(bundles, tmp_path, monkeypatch):
    from keras_trt.serving import repository

    keras_trt.triton({"int8": bundles["int8"]}, tmp_path / "r", verbose=0)
    before = sorted(tmp_path.rglob("*"))

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(repository.shutil, "copyfile", fail)
    with pytest.raises(InputError, match="cannot be written: .*No space left.* Written before that: nothing"):
        keras_trt.triton({"int8": bundles["int8"]}, tmp_path / "r", verbose=0)
    assert sorted(tmp_path.rglob("*")) == before


class Server:
    """The server that nvidia-pytriton carries, by itself."""

    def __init__(self, repository, folder):
        import pytriton
        from pytriton.utils.distribution import get_libs_path, get_stub_path

        home = folder / "server"
        shutil.copytree(Path(pytriton.__file__).parent / "tritonserver", home)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        shutil.copy(get_stub_path(version), home / "backends" / "python" / "triton_python_backend_stub")
        self.ports = free_ports()
        libraries = f"{sysconfig.get_config_var('LIBDIR')}:{get_libs_path()}"
        root = str(Path(keras_trt.__file__).parent.parent)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "LD_LIBRARY_PATH": libraries, "PATH": path, "PYTHONPATH": root}
        options = {
            "model-repository": repository,
            "backend-directory": home / "backends",
            **{f"{n.partition('_')[0]}-port": port for n, port in self.ports.items()},
            **{f"{n}-address": "127.0.0.1" for n in ("http", "grpc", "metrics")},
        }
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [home / "bin" / "tritonserver", *(f"--{n}={v}" for n, v in options.items())],
            env=env,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def text(self):
        return Path(self.log.name).read_text()

    def wait_until_ready(self):
        module, triton = client("http", self.ports)
        for _ in range(600):
            assert self.process.poll() is None, self.text()
            try:
                if triton.is_server_ready():
                    return module, triton
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.text())

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


@pytriton
def test_the_real_server_runs_the_python_backends_repository(bundles, tmp_path):
    keras_trt.triton(bundles, tmp_path / "repo", backend="python", verbose=0)
    server = Server(tmp_path / "repo", tmp_path)
    try:
        module, triton = server.wait_until_ready()
        x = rows((4, 8, 8), 3)
        for name in ("int8", "static"):
            want = keras_trt.load(bundles[name], verbose=0).predict(x, verbose=0)
            np.testing.assert_array_equal(ask(module, triton, name, x=x).as_numpy("y"), want)
        x = rows((3,), 6)
        got = ask(module, triton, "scores", x=x).as_numpy("y")
        np.testing.assert_allclose(got, x.sum(1, keepdims=True), rtol=1e-5)
    finally:
        server.stop()


@pytriton
def test_the_real_servers_only_complaint_of_the_others_is_the_missing_backend(bundles, tmp_path):
    """Its wheel carries the Python backend alone; it does refuse fields that it does not know."""
    keras_trt.triton(bundles, tmp_path / "repo", verbose=0)
    keras_trt.triton({"plan": with_plans(tmp_path / "b", "SM89", "SM120")}, tmp_path / "repo", verbose=0)
    server = Server(tmp_path / "repo", tmp_path)
    assert server.process.wait(60) != 0
    complaints = [line for line in server.text().splitlines() if "UNAVAILABLE" in line]
    server.log.close()
    assert len(complaints) == len(bundles) + 1
    assert all("unable to find backend library for backend" in line for line in complaints), complaints


def test_the_copy_of_the_python_backend_is_the_files_own(bundles, tmp_path):
    version = keras_trt.triton(bundles["two"], tmp_path, backend="python", verbose=0)["small"]
    source = Path(importlib.util.find_spec("keras_trt.serving").origin).with_name("python_backend.py")
    assert (version / "model.py").read_text() == source.read_text()
    assert keras_trt.load(version / "bundle", verbose=0).inputs[0].name == "a"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_repository_that_nothing_was_written_to_is_not_left_behind(tmp_path, monkeypatch, error):
    def fails(*_, **__):
        raise error

    bundle = save_bundle(tmp_path / "small.bundle", conv_model())
    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(InputError if error is OSError else error):
        keras_trt.triton(bundle, tmp_path / "new", verbose=0)
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError if error is OSError else error):
        keras_trt.triton(bundle, tmp_path / "old", verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "small.bundle"]
