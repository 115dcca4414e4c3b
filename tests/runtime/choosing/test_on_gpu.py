"""Plans on a stand-in for a GPU: which is taken, and what is kept for the next process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from keras_trt import load
from keras_trt.bundle import PlanStamp, read_bundle, sha256_of, write_manifest
from keras_trt.bundle.probe import Probe, expect, made_up
from keras_trt.engine import Audit, EngineConfig, Plan, build
from keras_trt.engine.machine.gpu import Gpu
from keras_trt.errors import EngineError, InputError
from keras_trt.plans.cache import PlanCache
from keras_trt.plans.key import same_build
from keras_trt.runtime import loading
from keras_trt.runtime.choosing import on_gpu, select
from keras_trt.runtime.choosing.trial import fault, least_on_gpu
from keras_trt.runtime.runners.onnxruntime.runner import ONNXRuntimeRunner
from keras_trt.runtime.runners.runner import ProfileError, Runner
from tests.small_onnx import conv_model, save_bundle

ROOT = Path(__file__).parent.parent.parent.parent


class FakeEngine(Runner):
    """Stands in for an engine on a GPU, which no test machine has."""

    def __init__(self, plan, manifest, *, module, options):
        super().__init__(manifest)
        if plan == b"broken":
            raise EngineError("it is\nbroken")
        self.name, self.plan, self.options = module, plan, options

    def run(self, feeds):
        raise NotImplementedError


def fake_machine(setattr_, build_plan):
    """Two Ada cards with TensorRT-RTX 1.7.1 and no other TensorRT."""
    cards = (Gpu(0, "a card", "SM89", 1), Gpu(1, "another", "SM120", 1))
    for module in (select, on_gpu, loading):
        setattr_(module, "gpus", lambda: cards)
    setattr_(select.deps, "available", lambda module: module in ("tensorrt_rtx", "openvino"))
    setattr_(select._trt, "load", lambda module, why: SimpleNamespace(__version__="1.7.1"))
    setattr_(on_gpu, "available_builders", lambda: ("tensorrt_rtx",))
    setattr_(on_gpu, "TensorRTRunner", FakeEngine)
    setattr_(on_gpu, "Device", FakeDevice)
    setattr_(build, "build_plan", build_plan)


class FakeDevice:
    current: ClassVar[list[int]] = []

    def __init__(self, index):
        self.index = index

    def __enter__(self):
        self.current.append(self.index)

    def __exit__(self, *error):
        self.current.pop()


def plan_of(path, data=b"anew", **options):
    config = options["config"]
    stamp = PlanStamp(
        "plans/a.plan",
        "tensorrt_rtx",
        "1.7.1",
        select._trt.system(),
        config.compute_capabilities,
        sha256_of(path),
        len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        config=config.stamped(),
    )
    return Plan(data, stamp, Audit(()), ())


@pytest.fixture
def gpu(monkeypatch):
    found = SimpleNamespace(calls=[], data=b"anew", devices=[])

    def build_plan(path, **options):
        found.calls.append(options)
        found.devices.append(list(FakeDevice.current))
        return plan_of(path, found.data, **options)

    fake_machine(monkeypatch.setattr, build_plan)
    return found


@pytest.fixture
def path(tmp_path):
    return save_bundle(tmp_path / "b", conv_model())


def loaded(path, *arguments, **options):
    return load(path, *arguments, check=False, verbose=0, **options).runner


def test_a_second_load_takes_the_plan_that_the_first_has_built(path, gpu, plan_cache):
    assert "built anew for SM89" in loaded(path).reason
    second = loaded(path)
    assert second.plan == b"anew"
    assert second.reason == "the cached plan fits this machine"
    assert len(gpu.calls) == 1
    assert len(list(plan_cache.rglob("*.plan"))) == 1


def test_without_a_cache_nothing_is_kept(path, gpu, plan_cache):
    loaded(path, cache=False)
    assert loaded(path, cache=False).plan == b"anew"
    assert len(gpu.calls) == 2
    assert not plan_cache.exists()


def test_the_cache_can_be_a_folder(path, gpu, tmp_path, plan_cache):
    loaded(path, cache=tmp_path / "mine")
    loaded(path, cache=str(tmp_path / "mine"))
    assert len(gpu.calls) == 1
    assert not plan_cache.exists()


@pytest.mark.parametrize("damage", ["plan", "stamp"])
def test_a_damaged_entry_is_said_and_built_again(path, gpu, plan_cache, damage, caplog):
    loaded(path)
    (file,) = plan_cache.rglob("*.plan" if damage == "plan" else "*.json")
    file.write_bytes(b"flip")
    with caplog.at_level(logging.WARNING, "keras_trt"):
        assert loaded(path).plan == b"anew"
    assert "is damaged and not used" in caplog.text
    assert len(gpu.calls) == 2
    assert loaded(path).reason == "the cached plan fits this machine"
    assert len(gpu.calls) == 2


def test_a_cached_plan_that_does_not_run_is_built_again(path, gpu):
    gpu.data = b"broken"
    assert loaded(path).name == "openvino"
    gpu.data = b"anew"
    runner = loaded(path)
    assert runner.plan == b"anew"
    assert "the cached plan: it is" in runner.reason


def test_a_cache_that_cannot_be_written_is_said_and_the_plan_runs(path, gpu, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "keras_trt"):
        assert loaded(path, cache=tmp_path / "file" / "cache").plan == b"anew"
    assert "The plan of small is not kept in" in caplog.text


def test_another_gpu_gets_a_plan_of_its_own_on_its_device(path, gpu):
    loaded(path)
    runner = loaded(path, device=1)
    assert runner.options.device == 1
    assert "built anew for SM120" in runner.reason
    assert [options["config"].compute_capabilities for options in gpu.calls] == [("SM89",), ("SM120",)]
    assert [options["device"] for options in gpu.calls] == [0, 1]
    assert gpu.devices == [[], [1]]


def test_a_plan_for_another_gpu_is_built_with_the_options_of_the_bundles_own(path, gpu):
    bundle = read_bundle(path)
    stamp = plan_of(bundle.onnx_path, config=build.EngineConfig(compute_capabilities="SM86")).stamp
    stamp = dataclasses.replace(stamp, config={"optimization_level": 5})
    (path / "plans").mkdir()
    (path / stamp.file).write_bytes(b"anew")
    write_manifest(path, dataclasses.replace(bundle.manifest, plans=(stamp,)))
    loaded(path)
    assert gpu.calls[0]["config"].optimization_level == 5
    assert gpu.calls[0]["config"].compute_capabilities == ("SM89",)
    assert loaded(path).reason == "the cached plan fits this machine"


@pytest.mark.parametrize("config", [{"an_option_of_later": 1}, {"profiles": 3}, {"dla_core": 0}])
def test_options_that_cannot_be_had_here_are_left_out(path, gpu, config, monkeypatch):
    bundle = read_bundle(path)
    stamp = plan_of(bundle.onnx_path, config=build.EngineConfig(compute_capabilities="SM86")).stamp
    (path / "plans").mkdir()
    (path / stamp.file).write_bytes(b"anew")
    plans = (dataclasses.replace(stamp, config=config),)
    write_manifest(path, dataclasses.replace(bundle.manifest, plans=plans))
    real = build.build_plan

    def build_plan(onnx_path, **options):
        if options["config"].dla_core is not None:
            raise EngineError("this machine has 0 DLA cores")
        return real(onnx_path, **options)

    monkeypatch.setattr(build, "build_plan", build_plan)
    assert loaded(path).plan == b"anew"
    assert [options["config"].stamped() for options in gpu.calls] == [{}]


def test_falling_back_is_one_line_of_warning_that_says_why(path, gpu, caplog):
    gpu.data = b"broken"
    with caplog.at_level(logging.INFO, "keras_trt"):
        assert loaded(path).name == "openvino"
    (record,) = [r for r in caplog.records if "runs on" in r.getMessage()]
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "small runs on openvino: the bundle holds no plan; building with tensorrt_rtx: it is broken"
    )


def test_falling_back_is_an_error_where_the_engine_was_asked_for(path, gpu):
    gpu.data = b"broken"
    with pytest.raises(
        EngineError, match=r"runner='tensorrt_rtx' cannot run .*building with tensorrt_rtx: it"
    ):
        loaded(path, "tensorrt_rtx")


def test_a_plan_without_weights_gets_them_back(path, gpu, monkeypatch):
    bundle = read_bundle(path)
    stamp = plan_of(bundle.onnx_path, b"thin", config=build.EngineConfig(compute_capabilities="SM89")).stamp
    stamp = dataclasses.replace(stamp, config={"strip_weights": True})
    (path / "plans").mkdir()
    (path / stamp.file).write_bytes(b"thin")
    write_manifest(path, dataclasses.replace(bundle.manifest, plans=(stamp,)))
    monkeypatch.setattr(on_gpu._trt, "deserialize", lambda trt, plan, allow_host_code: plan + b" engine")
    monkeypatch.setattr(on_gpu._trt, "refit", lambda trt, engine, path: engine + f" of {path.name}".encode())
    assert loaded(path).plan == b"thin engine of model.onnx"


@pytest.mark.parametrize("wrong", [-1, True, "0", 1.0, None])
def test_a_device_is_a_number(path, wrong):
    with pytest.raises(InputError, match="`device` must be the number of a GPU, from 0. Received: "):
        loaded(path, device=wrong)


def test_a_gpu_that_is_not_there_is_named(path, gpu):
    with pytest.raises(InputError, match=r"`device` .*\(0: a card, 1: another\). Received: 2"):
        loaded(path, device=2)


@pytest.mark.parametrize("wrong", [True, 3, "", "a\0b", b"folder"])
def test_a_wrong_cache_is_named(path, wrong):
    with pytest.raises(InputError, match="`cache` must be "):
        loaded(path, cache=wrong)


RACE = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.runtime.choosing import test_on_gpu as here

def build_plan(path, **options):
    Path({log!r}).open("a").write("built\\n")
    time.sleep(1)
    return here.plan_of(path, **options)

here.fake_machine(setattr, build_plan)
print(here.loaded(Path({path!r})).plan)
"""


def test_processes_that_load_at_once_build_once(path, tmp_path):
    log = tmp_path / "log"
    code = RACE.format(root=str(ROOT), log=str(log), path=str(path))
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [racer.communicate(timeout=120)[0].strip() for racer in racers] == ["b'anew'"] * 2
    assert log.read_text() == "built\n"


def test_a_builder_that_is_killed_holds_nobody_up(path, tmp_path, gpu):
    log = tmp_path / "log"
    code = RACE.format(root=str(ROOT), log=str(log), path=str(path)).replace("sleep(1)", "sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.1)
    process.kill()
    process.communicate()
    assert log.read_text() == "built\n"
    assert "built anew" in loaded(path).reason


def test_old_stamps_without_a_config_fit(path):
    bundle = read_bundle(path)
    stamp = plan_of(bundle.onnx_path, config=build.EngineConfig(compute_capabilities="SM89")).stamp
    (path / "plans").mkdir()
    (path / stamp.file).write_bytes(b"anew")
    write_manifest(path, dataclasses.replace(bundle.manifest, plans=(stamp,)))
    data = json.loads((path / "manifest.json").read_text())
    del data["plans"][0]["config"]
    (path / "manifest.json").write_text(json.dumps(data))
    assert read_bundle(path).manifest.plans == (stamp,)


def test_the_cache_of_a_load_is_the_one_of_build(path, gpu, plan_cache):
    bundle = read_bundle(path)
    config = build.EngineConfig(compute_capabilities="SM89", optimization_level=5)
    PlanCache(plan_cache).store(bundle.manifest, plan_of(bundle.onnx_path, b"better", config=config))
    assert loaded(path).plan == b"better"
    assert gpu.calls == []


class Computing(FakeEngine):
    """An engine that is right, or by how much the plan says wrong."""

    def __init__(self, plan, manifest, *, module, options):
        super().__init__(plan, manifest, module=module, options=options)
        self.factor = {b"wrong": 1.5, b"tf32": 1.002}.get(plan, 1.0)
        self.closed = False

    def run(self, feeds):
        outputs = Computing.reference.run(feeds)
        return {name: y * self.factor for name, y in outputs.items()}

    def close(self):
        self.closed = True


@pytest.fixture
def computing(path, gpu, monkeypatch):
    """Engines that compute; `plans` says what each build yields."""
    Computing.reference = ONNXRuntimeRunner(read_bundle(path), optimize=False)
    monkeypatch.setattr(on_gpu, "TensorRTRunner", Computing)
    monkeypatch.setattr(select.deps, "available", lambda m: m in ("tensorrt_rtx", "openvino", "onnxruntime"))
    plans: list[bytes] = []
    monkeypatch.setattr(
        build, "build_plan", lambda path, **o: gpu.calls.append(o) or plan_of(path, plans.pop(0), **o)
    )
    return plans


def test_a_wrong_engine_is_built_again_without_what_may_be_wrong_in_it(path, gpu, computing):
    computing += [b"wrong", b"right"]
    runner = load(path, verbose=0).runner
    assert runner.plan == b"right"
    assert runner.reason == (
        "the bundle holds no plan; tensorrt_rtx (built anew for SM89) computes it wrongly: output 'y' is "
        "50.0% off, 3.00% is allowed; built anew with its simplest kernels for SM89"
    )
    first, second = (options["config"] for options in gpu.calls)
    assert first.differences() == {"compute_capabilities": ["SM89"]}
    assert second.differences() == {
        "compute_capabilities": ["SM89"], "optimization_level": 0, "tf32": False
    }  # fmt: skip
    assert load(path, verbose=0).runner.plan == b"right"  # of the cache: nothing is left to build


def test_engines_that_stay_wrong_are_not_taken(path, computing):
    computing += [b"wrong", b"wrong"]
    engine = load(path, verbose=0)
    assert engine.runner.name == "openvino"
    assert engine.runner.reason.count("computes it wrongly") == 2
    computing += [b"wrong", b"wrong"]
    with pytest.raises(EngineError, match=r"cannot run .* computes it wrongly: output 'y' is 50.0% off"):
        load(path, "tensorrt_rtx", cache=False, verbose=0)


def test_what_tf32_rounds_is_right(path, computing):
    computing += [b"tf32"]
    assert load(path, verbose=0).runner.plan == b"tf32"


def test_an_engine_for_other_sizes_than_the_probe_has_is_taken(path, computing, monkeypatch):
    def run(self, feeds):
        raise ProfileError("TensorRT refused the shape of input `x`.")

    monkeypatch.setattr(Computing, "run", run)
    computing += [b"right"]
    assert load(path, verbose=0).runner.plan == b"right"


def test_an_engine_of_a_smaller_batch_is_tried_in_parts(path, computing, monkeypatch):
    sizes = []

    class Small(Computing):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.batch_range = (1, 1)

        def run(self, feeds):
            sizes.append(len(feeds["x"]))
            return super().run(feeds)

    monkeypatch.setattr(on_gpu, "TensorRTRunner", Small)
    computing += [b"right"]
    assert load(path, verbose=0).runner.plan == b"right"
    assert sizes == [1, 1]


def test_a_plan_without_the_graph_s_quantisers_says_what_it_computes_in(path, gpu, plan_cache):
    runner = loaded(path)
    assert (runner.precision, runner.reason) == (None, "the bundle holds no plan; built anew for SM89")
    bundle, cache = read_bundle(path), PlanCache(plan_cache)
    (stamp,) = cache.entries(bundle.manifest)
    low = dataclasses.replace(stamp, precision="fp16", sha256=hashlib.sha256(b"low").hexdigest())
    cache.store(bundle.manifest, Plan(b"low", low, Audit(()), ()))
    runner = loaded(path)
    assert (runner.plan, runner.precision) == (b"low", "fp16")
    assert runner.reason == "the cached plan (fp16) fits this machine"
    assert len(gpu.calls) == 1


def test_a_plan_in_another_precision_is_none_that_a_build_would_make(path, gpu):
    manifest = read_bundle(path).manifest
    stamp = plan_of(path / "model.onnx", config=EngineConfig(compute_capabilities="SM89")).stamp
    asked = manifest, "tensorrt_rtx", "1.7.1", stamp.os, EngineConfig()
    assert same_build(stamp, *asked)
    assert not same_build(dataclasses.replace(stamp, precision="fp16"), *asked)
    assert same_build(dataclasses.replace(stamp, precision="fp16"), *asked, "fp16")


@pytest.mark.parametrize(
    ("off", "precision", "right"),
    [(0.02, None, True), (0.06, None, False), (0.06, "fp16", True), (0.2, "fp16", False)],
)
def test_a_plan_without_the_graph_s_quantisers_may_be_off_by_their_rounding(path, off, precision, right):
    runner = ONNXRuntimeRunner(read_bundle(path), low_precision=False, optimize=False)
    x = made_up(read_bundle(path).manifest).inputs["x"].astype("float32")
    right_answers = {"y": runner.run({"x": x})["y"] * (1 + off)}
    runner.precision = precision
    probe = Probe({"x": x}, expect(right_answers, {"y": 0.001}))
    assert (fault(runner, probe, least=least_on_gpu(runner)) is None) == right
