"""Which of two plans is kept: both by the real builder of TensorRT-RTX; a GPU and a clock are stand-ins."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keras_trt import EngineConfig, build
from keras_trt._machine import deps
from keras_trt.building import fastest
from keras_trt.building.fastest import unquantized_precision
from keras_trt.building.unquantized import unquantized
from keras_trt.bundle import read_bundle, write_manifest
from keras_trt.engine.machine.gpu import Gpu
from keras_trt.errors import BundleError, EngineError, InputError, MissingDependencyError, RunnerError
from keras_trt.plans.key import plan_key
from keras_trt.runtime.runners.onnxruntime.runner import ONNXRuntimeRunner
from keras_trt.runtime.runners.runner import ProfileError
from tests.small_onnx import conv_model, save_bundle

pytestmark = pytest.mark.skipif(not deps.available("tensorrt_rtx"), reason="needs tensorrt_rtx")
ADA = EngineConfig(compute_capabilities="SM89")


class Machine:
    """A GPU that runs a plan's graph on the CPU, and a clock that only its calls move on."""

    def __init__(self, monkeypatch):
        self.now, self.driver = 0.0, "570.1"
        self.seconds = {None: 0.5, "fp16": 0.5}
        self.batches, self.scaled, self.failing, self.builds = set(), {}, {}, []
        card = Gpu(0, "a card", "SM89", 1 << 30)
        facts = {"gpus": ("a card (SM89, 1 GiB)",), "processor": "a processor"}
        monkeypatch.setattr(fastest, "gpus", lambda: (card,))
        monkeypatch.setattr(fastest, "machine", lambda: SimpleNamespace(**facts, driver=self.driver))
        monkeypatch.setattr(fastest, "CLOCK", lambda: self.now)
        monkeypatch.setattr(fastest, "TensorRTRunner", self.runner)
        real = fastest.plan_for

        def plan_for(bundle, *arguments):
            plan = real(bundle, *arguments)
            self.builds.append((bundle.manifest.precision, plan.data))
            if error := self.failing.get(("build", bundle.manifest.precision)):
                raise error
            return plan

        monkeypatch.setattr(fastest, "plan_for", plan_for)

    def runner(self, data, manifest, *, module, options):
        assert module == "tensorrt_rtx"
        precision = next(name for name, built in self.builds[::-1] if built == data)
        low = "fp16" if precision == "fp16" else None
        if error := self.failing.get(("run", low)):
            raise error
        return Engine(self, low)


class Engine(ONNXRuntimeRunner):
    """What a plan would compute."""

    bundle = None

    def __init__(self, machine, low):
        self._machine, self._low = machine, low
        graph = self.bundle
        if low:
            graph = unquantized(graph, low, Path(tempfile.mkdtemp(dir=graph.path.parent)))
        super().__init__(graph)

    def run(self, feeds):
        machine = self._machine
        machine.now += machine.seconds[self._low]
        machine.batches |= {len(x) for x in feeds.values()}
        scale = machine.scaled.get(self._low, 1)
        if isinstance(scale, Exception):
            raise scale
        return {name: scale * y for name, y in super().run(feeds).items()}


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = save_bundle(tmp_path / "b", conv_model(), precision="int8")
    monkeypatch.setattr(Engine, "bundle", read_bundle(path))
    return path


def built(path, **options):
    return build(path, "tensorrt_rtx", **({"config": ADA, "keep": "fastest", "verbose": 0} | options))


@pytest.mark.parametrize(
    ("int8", "fp16", "taken"),
    [
        (0.5, 0.5, "fp16"),
        (0.5, 0.505, "fp16"),  # int8 wins, by too little to pay for its rounding
        (0.5, 0.515, "int8"),
        (0.5, 1.0, "int8"),
        (0.5, 0.25, "fp16"),
    ],
)
def test_int8_is_kept_only_where_it_is_faster_by_two_percent(path, machine, int8, fp16, taken):
    machine.seconds = {None: int8, "fp16": fp16}
    report = built(path)
    (stamp,) = read_bundle(path).manifest.plans
    assert stamp.precision == (None if taken == "int8" else "fp16")
    assert stamp.file == f"plans/tensorrt_rtx{'' if taken == 'int8' else '-fp16'}-SM89.plan"
    rule = "int8 is kept where it is at least 1.02 times as fast as fp16"
    times = f"int8 {1e3 * int8:.4g} ms, fp16 {1e3 * fp16:.4g} ms a batch of 8 (medians)"
    assert stamp.chosen == {
        "precision": taken,
        "why": f"{taken} is kept: {times}; {rule}.",
        "milliseconds": {"int8": pytest.approx(1e3 * int8), "fp16": pytest.approx(1e3 * fp16)},
        "times_faster": pytest.approx(fp16 / int8, abs=1e-3),
        "batch": 8,
        "rule": rule,
        "machine": {"gpu": "a card (SM89, 1 GiB)", "driver": "570.1", "processor": "a processor"},
    }
    assert report.notes[0] == stamp.chosen["why"]
    (plan,) = report.plans
    assert (plan.precision, plan.chosen, plan.reused) == (stamp.precision, stamp.chosen, False)
    assert ("fp16, built" in str(report)) == (taken == "fp16")
    assert machine.batches >= {8}, "the bundle's usual batch"


def test_a_plan_of_the_stamp_s_precision_is_in_the_file(path, machine):
    built(path)
    bundle = read_bundle(path)
    (stamp,) = bundle.manifest.plans
    assert bundle.read_plan(stamp) == dict(machine.builds)["fp16"] != dict(machine.builds)["int8"]
    assert stamp.onnx_sha256 == bundle.manifest.onnx_sha256, "`load` takes it for this bundle's"
    assert json.loads((path / "manifest.json").read_text())["plans"][0]["chosen"]["precision"] == "fp16"


def test_a_choice_holds_for_its_machine_and_a_plain_build_has_its_own_plan(path, machine):
    low = built(path).plans[0]
    again = built(path).plans[0]
    assert (again.file, again.reused, len(machine.builds)) == (low.file, True, 2)
    assert built(path).notes[0].startswith("fp16 is kept: ")
    plain = built(path, keep=None).plans[0]
    assert (plain.precision, plain.reused, plain.chosen) == (None, False, {})
    plans = read_bundle(path).manifest.plans
    assert [stamp.precision for stamp in plans] == [None, "fp16"]
    assert len({plan_key(stamp) for stamp in plans}) == 2
    assert built(path).plans[0].file == low.file
    assert [stamp.precision for stamp in read_bundle(path).manifest.plans] == ["fp16", None]
    machine.driver, machine.seconds["fp16"] = "580.2", 1.0
    assert built(path).plans[0].precision is None, "measured again"
    assert [stamp.precision for stamp in read_bundle(path).manifest.plans] == [None, "fp16"]


def test_plans_in_a_folder_are_told_apart_too(path, machine, tmp_path):
    low = built(path, into=tmp_path / "cache").plans[0]
    plain = built(path, into=tmp_path / "cache", keep=None).plans[0]
    assert low.file != plain.file
    assert not plain.reused
    again = built(path, into=tmp_path / "cache").plans[0]
    assert (again.file, again.reused, again.chosen) == (low.file, True, low.chosen)


@pytest.mark.parametrize("wrong", [1.2, float("nan"), RunnerError("out of\nmemory")])
def test_a_float_plan_that_is_wrong_on_the_probe_is_out(path, machine, wrong):
    machine.seconds["fp16"], machine.scaled["fp16"] = 0.1, wrong
    (note, *_) = built(path).notes
    assert read_bundle(path).manifest.plans[0].precision is None
    assert note.startswith("int8 is kept. fp16 is out: ")
    assert ("it failed: out of" if isinstance(wrong, Exception) else "% off, 10.00% is allowed") in note
    assert "export with `calibration_data`" in note


def test_an_int8_plan_that_is_wrong_on_the_probe_is_out(path, machine):
    machine.seconds["fp16"], machine.scaled[None] = 5.0, 1.2
    (note, *_) = built(path).notes
    assert read_bundle(path).manifest.plans[0].precision == "fp16"
    assert note.startswith("fp16 is kept. int8 is out: output 'y' is 20")


def test_a_float_graph_that_does_not_build_or_run_is_out(path, machine):
    machine.failing["build", "fp16"] = EngineError("no\nkernel")
    assert built(path).notes[0] == "int8 is kept. fp16 is out: it does not build: no kernel."
    machine.failing = {("run", "fp16"): EngineError("no memory")}
    assert built(path).notes[0] == "int8 is kept. fp16 is out: it does not run: no memory."
    machine.failing = {}
    assert built(path).plans[0].precision == "fp16", "it is tried again"


def test_where_neither_is_right_nothing_is_kept(path, machine):
    machine.scaled = {None: 1.2, "fp16": 1.2}
    with pytest.raises(EngineError, match=r"neither plan is right here. int8 is out: .* fp16 is out: "):
        built(path)
    assert read_bundle(path).manifest.plans == ()


def test_sizes_that_no_profile_holds_are_an_error_that_says_so(path, machine):
    machine.scaled = {None: ProfileError("time is 1 to 8."), "fp16": ProfileError("time is 1 to 8.")}
    with pytest.raises(EngineError, match="usual sizes, .* not built for these: time is 1 to 8. Let"):
        built(path)


def test_a_bundle_that_is_not_quantised_is_built_as_it_is_and_needs_no_gpu(tmp_path):
    path = save_bundle(tmp_path / "b", conv_model(int8=False))
    report = built(path)
    assert report.notes[0] == 'keep="fastest" had nothing to compare: the bundle is not quantised.'
    (stamp,) = read_bundle(path).manifest.plans
    assert (stamp.precision, stamp.chosen) == (None, {})


def test_without_a_gpu_nothing_is_built(path):
    before = sorted(path.rglob("*"))
    with pytest.raises(EngineError, match="times plans on a GPU of this machine, and it has no NVIDIA GPU"):
        built(path)
    assert sorted(path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"keep": "smallest"}, r"`keep` must be one of \[None, 'fastest'\]. Received: 'smallest'"),
        ({"keep": True}, "`keep` must be one of"),
        ({"config": EngineConfig(compute_capabilities="SM120")}, r"a card, of class SM89.*\['SM120'\]"),
        ({"config": dataclasses.replace(ADA, strip_weights=True)}, "goes without `strip_weights`"),
    ],
)
def test_what_does_not_go_together_is_told_before_a_build(path, machine, options, text):
    with pytest.raises(InputError, match=text):
        built(path, **options)
    assert machine.builds == []


def test_a_damaged_probe_is_told_before_a_build(path, machine):
    write_manifest(path, dataclasses.replace(read_bundle(path).manifest, probe_sha256="0" * 64))
    with pytest.raises(BundleError, match=r"`probe\.npz` is not the file that was exported"):
        built(path)
    assert machine.builds == []


def test_a_package_that_is_missing_is_told_before_a_build(path, machine, monkeypatch):
    real = fastest.deps.require

    def require(module, **options):
        return real("no_such_package" if module == "onnx_ir" else module, **options)

    monkeypatch.setattr(fastest.deps, "require", require)
    with pytest.raises(MissingDependencyError, match=r"needed by keep=\"fastest\".*keras-trt\[onnxruntime\]"):
        built(path)
    assert machine.builds == []


@pytest.mark.parametrize(
    ("precision", "low"),
    [("int8", "fp16"), ("int8+fp16", "fp16"), ("int8+bf16", "bf16"), ("fp8", "fp16"), ("int4+bf16", "bf16")],
)
def test_the_float_plan_computes_in_the_bundle_s_16_bits_where_it_has_such(precision, low):
    assert unquantized_precision(precision) == low


def test_rows_are_the_usual_batch_as_far_as_profiles_hold_it(path):
    runner = SimpleNamespace(batch_range=(1, 4), batch_for=lambda rows: rows)
    bundle = read_bundle(path)
    assert fastest._rows(bundle, runner) == 4
    runner.batch_range = (1, None)
    assert fastest._rows(bundle, runner) == bundle.manifest.batch[1] == 8
    assert np.prod(bundle.manifest.batch) == 1 * 8 * 32
