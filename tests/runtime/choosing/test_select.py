import dataclasses
import hashlib
from types import SimpleNamespace

import pytest

from keras_trt._machine import deps
from keras_trt.bundle import PlanStamp, read_bundle, sha256_of
from keras_trt.engine import Audit, Plan, build
from keras_trt.engine.machine.gpu import Gpu
from keras_trt.errors import EngineError, InputError, MissingDependencyError
from keras_trt.runtime.choosing import on_gpu, select
from keras_trt.runtime.choosing.misfit import misfit
from keras_trt.runtime.choosing.select import select_runner
from keras_trt.runtime.runners.runner import Runner
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions
from tests.small_onnx import conv_model, save_bundle

DIGEST = "0" * 64
STAMP = PlanStamp("plans/a.plan", "tensorrt_rtx", "1.7.1", "linux", ("SM86", "SM89"), DIGEST, 4)
HERE = {
    "version": "1.7.1",
    "os": "linux",
    "compute_capability": "SM89",
    "onnx_sha256": DIGEST,
    "allow_host_code": False,
}


@pytest.mark.parametrize(
    ("stamp", "here", "why"),
    [
        ({}, {}, None),
        ({}, {"compute_capability": "SM86"}, None),
        ({}, {"compute_capability": "SM90"}, "it was built for SM86/SM89, this GPU is SM90"),
        ({}, {"version": "1.8"}, "it was built by version 1.7.1, installed is 1.8"),
        ({}, {"os": "windows"}, "it was built for linux, this is windows"),
        ({}, {"onnx_sha256": "1" * 64}, "it was built from another ONNX file"),
        ({"version_compatible": True}, {"version": "1.8"}, "it carries code"),
        ({"version_compatible": True}, {"version": "1.8", "allow_host_code": True}, None),
        ({"version_compatible": True}, {"version": "1.6", "allow_host_code": True}, "installed is 1.6"),
        ({"config": {"hardware_compatibility": "ampere_plus"}}, {"compute_capability": "SM90"}, None),
        ({"config": {"hardware_compatibility": "ampere_plus"}}, {"compute_capability": "SM75"}, "is SM75"),
        ({"version_compatible": True, "version": "?"}, {"allow_host_code": True}, "by version ?"),
        ({"config": {"an_option_of_later": 1}}, {}, None),
    ],
)
def test_a_plan_runs_only_where_its_stamp_fits(stamp, here, why):
    found = misfit(dataclasses.replace(STAMP, **stamp), **(HERE | here))
    assert found is None if why is None else why in found


class FakeEngine(Runner):
    """Stands in for an engine on a GPU, which no test machine has."""

    def __init__(self, plan, manifest, *, module, options):
        if plan == b"brok":
            raise EngineError("it is broken")
        self.name, self.plan, self.options = module, plan, options

    def run(self, feeds):
        raise NotImplementedError


@pytest.fixture
def bundle(tmp_path):
    return read_bundle(save_bundle(tmp_path / "b", conv_model()))


def with_plans(bundle, *stamps, data=b"plan"):
    digest = bundle.manifest.onnx_sha256
    plans = tuple(dataclasses.replace(s, onnx_sha256=digest) for s in stamps)
    (bundle.path / "plans").mkdir()
    for stamp in plans:
        (bundle.path / stamp.file).write_bytes(data)
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, plans=plans))


@pytest.fixture
def gpu(monkeypatch):
    """A machine with an Ada card, TensorRT-RTX 1.7.1 and no other TensorRT."""
    for module in (select, on_gpu):
        monkeypatch.setattr(module, "gpus", lambda: (Gpu(0, "a card", "SM89", 1),))
    monkeypatch.setattr(select.deps, "available", lambda module: module in ("tensorrt_rtx", "openvino"))
    monkeypatch.setattr(select._trt, "load", lambda module, why: SimpleNamespace(__version__="1.7.1"))
    monkeypatch.setattr(select._trt, "system", lambda: "linux")
    monkeypatch.setattr(on_gpu, "available_builders", lambda: ("tensorrt_rtx",))
    monkeypatch.setattr(on_gpu, "TensorRTRunner", FakeEngine)
    built = SimpleNamespace(calls=[])

    def build_plan(path, **options):
        built.calls.append(options)
        digest = hashlib.sha256(b"anew").hexdigest()
        stamp = dataclasses.replace(
            STAMP,
            compute_capabilities=options["config"].compute_capabilities,
            onnx_sha256=sha256_of(path),
            sha256=digest,
        )
        return Plan(b"anew", stamp, Audit(()), ())

    monkeypatch.setattr(build, "build_plan", build_plan)
    return built


def test_a_plan_that_fits_is_used(bundle, gpu):
    runner = select_runner(with_plans(bundle, STAMP), options=TensorRTOptions(cuda_graph=True))
    assert (runner.name, runner.plan) == ("tensorrt_rtx", b"plan")
    assert runner.reason == "plan plans/a.plan fits this machine"
    assert runner.options.cuda_graph
    assert not runner.options.allow_host_code
    assert gpu.calls == []


@pytest.mark.parametrize(
    ("stamp", "data", "why"),
    [
        (dataclasses.replace(STAMP, compute_capabilities=("SM86",)), b"plan", "this GPU is SM89"),
        (dataclasses.replace(STAMP, version="1.6"), b"plan", "installed is 1.7.1"),
        (STAMP, b"brok", "it is broken"),
    ],
)
def test_a_plan_that_does_not_fit_is_built_anew(bundle, gpu, stamp, data, why):
    runner = select_runner(with_plans(bundle, stamp, data=data), verbose=0)
    assert runner.plan == b"anew"
    assert why in runner.reason
    assert "built anew for SM89" in runner.reason
    assert gpu.calls[0]["config"].compute_capabilities == ("SM89",)
    assert gpu.calls[0]["batch"] == (1, 8, 32)


def test_a_bundle_without_plans_is_built_here(bundle, gpu):
    assert "the bundle holds no plan" in select_runner(bundle).reason
    assert not gpu.calls[0]["config"].sparse_weights


def test_two_to_four_sparsity_reaches_the_builder(bundle, gpu):
    manifest = dataclasses.replace(bundle.manifest, sparsity={"2:4": ["conv1"]})
    select_runner(dataclasses.replace(bundle, manifest=manifest))
    assert gpu.calls[0]["config"].sparse_weights is True


@pytest.mark.parametrize("error", [EngineError("too little memory"), MemoryError("too little memory")])
def test_a_build_that_fails_falls_back_to_the_cpu(bundle, gpu, monkeypatch, error):
    def build_plan(path, **options):
        raise error

    monkeypatch.setattr(build, "build_plan", build_plan)
    runner = select_runner(bundle)
    assert runner.name == "openvino"
    assert "building with tensorrt_rtx: too little memory" in runner.reason
    with pytest.raises(EngineError, match="too little memory"):
        select_runner(bundle, "tensorrt_rtx")


def test_no_builder_falls_back_to_the_cpu(bundle, gpu, monkeypatch):
    monkeypatch.setattr(on_gpu, "available_builders", lambda: ())
    runner = select_runner(with_plans(bundle, dataclasses.replace(STAMP, compute_capabilities=("SM86",))))
    assert runner.name == "openvino"
    assert "this GPU is SM89; no TensorRT builder is installed" in runner.reason


def test_a_plan_with_code_is_not_run_unasked(bundle, gpu):
    bundle = with_plans(bundle, dataclasses.replace(STAMP, version_compatible=True))
    assert select_runner(bundle).plan == b"anew"
    assert select_runner(bundle, options=TensorRTOptions(allow_host_code=True)).plan == b"plan"


def no_gpu(monkeypatch):
    monkeypatch.setattr(select, "gpus", lambda: ())


def test_without_a_gpu_the_onnx_runs_on_the_cpu(bundle, monkeypatch):
    no_gpu(monkeypatch)
    runner = select_runner(with_plans(bundle, STAMP))
    assert runner.name == "openvino"
    assert runner.reason == "no NVIDIA GPU or driver here"


def test_onnxruntime_is_second_choice(bundle, monkeypatch):
    no_gpu(monkeypatch)
    monkeypatch.setattr(select.deps, "available", lambda module: module == "onnxruntime")
    pytest.importorskip("onnxruntime")
    assert select_runner(bundle).name == "onnxruntime"


def test_a_cpu_runner_can_be_asked_for(bundle, gpu):
    assert select_runner(bundle, "openvino").reason == "asked for"
    assert gpu.calls == []


def test_no_runner_at_all_tells_how_to_get_one(bundle, monkeypatch):
    no_gpu(monkeypatch)
    monkeypatch.setattr(select.deps, "available", lambda module: False)
    with pytest.raises(MissingDependencyError, match=r"no NVIDIA GPU.*pip install openvino"):
        select_runner(bundle)


def test_an_engine_asked_for_without_a_gpu_is_an_error(bundle, monkeypatch):
    if not deps.available("tensorrt_rtx"):
        pytest.skip("tensorrt_rtx is not installed")
    no_gpu(monkeypatch)
    with pytest.raises(EngineError, match=r"'tensorrt_rtx' cannot run .* no NVIDIA GPU or driver"):
        select_runner(bundle, "tensorrt_rtx")


def test_an_engine_that_is_not_installed_comes_with_its_pip_line(bundle):
    if deps.available("tensorrt_lean"):
        pytest.skip("tensorrt_lean is installed")
    with pytest.raises(MissingDependencyError, match=r"pip install 'keras-trt\[lean\]'"):
        select_runner(bundle, "tensorrt_lean")


def test_an_unknown_runner_is_refused(bundle):
    with pytest.raises(
        InputError, match=r"`runner` must be one of \['auto', .*'onnxruntime', .*\]. Received: 'cpu'"
    ):
        select_runner(bundle, "cpu")
