"""Plans of small bundles by the real builder of TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import keras_trt
import keras_trt.building.build as module
from keras_trt import EngineConfig, build
from keras_trt._machine import deps
from keras_trt.bundle import PlanStamp, read_bundle, sha256_of, write_bundle, write_manifest
from keras_trt.bundle.contents import foreign_files
from keras_trt.engine import build as building
from keras_trt.errors import BundleError, EngineError, InputError, MissingDependencyError
from keras_trt.plans.cache import PlanCache
from tests.small_onnx import conv_model, manifest_of, save_bundle

pytestmark = pytest.mark.skipif(not deps.available("tensorrt_rtx"), reason="needs tensorrt_rtx")
ROOT = Path(__file__).parent.parent.parent
ADA = EngineConfig(compute_capabilities="SM89")
FAST = dataclasses.replace(ADA, optimization_level=0)


@pytest.fixture
def path(tmp_path):
    return save_bundle(tmp_path / "b", conv_model())


def built(path, config=ADA, **options):
    return build(path, "tensorrt_rtx", config=config, verbose=0, **options)


def count_builds(monkeypatch):
    calls = []
    real = building.build_plan

    def build_plan(*arguments, **options):
        calls.append(options)
        return real(*arguments, **options)

    monkeypatch.setattr(building, "build_plan", build_plan)
    return calls


def test_a_plan_is_added_to_the_bundle(path):
    report = built(path)
    bundle = read_bundle(path)
    (stamp,) = bundle.manifest.plans
    assert bundle.read_plan(stamp)
    (plan,) = report.plans
    assert (plan.file, plan.bytes) == (bundle.plan_path(stamp), plan.file.stat().st_size)
    assert (plan.kind, plan.compute_capabilities, plan.reused) == ("tensorrt_rtx", ("SM89",), False)
    assert plan.seconds > 0
    assert plan.computes == {"int8": 1}
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "model.onnx", "plans"]
    assert foreign_files(path) == [], "it can still be overwritten"


def test_the_rest_of_the_manifest_stays(path):
    before = json.loads((path / "manifest.json").read_text())
    built(path)
    after = json.loads((path / "manifest.json").read_text())
    assert before == after | {"plans": []}


def test_a_plan_that_is_there_is_not_built_again(path, monkeypatch):
    built(path)
    calls = count_builds(monkeypatch)
    (plan,) = built(path).plans
    assert plan.reused
    assert plan.seconds == 0
    assert calls == []


def test_plans_of_other_options_stand_beside_each_other_the_last_asked_for_first(path):
    first = built(path).plans[0]
    second = built(path, FAST).plans[0]
    assert first.file != second.file
    assert [s.config for s in read_bundle(path).manifest.plans] == [{"optimization_level": 0}, {}]
    assert built(path).plans[0].reused
    assert [s.config for s in read_bundle(path).manifest.plans] == [{}, {"optimization_level": 0}]


def test_a_plan_for_more_classes_serves_fewer(path, monkeypatch):
    built(path, EngineConfig(compute_capabilities=["SM86", "SM89"]))
    calls = count_builds(monkeypatch)
    assert built(path).plans[0].reused
    assert built(path, EngineConfig(compute_capabilities=["SM89", "SM120"])).plans[0].reused is False
    assert len(calls) == 1


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_plan_is_said_and_built_again(path, damage):
    file = built(path).plans[0].file
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flipped" else data[:-10])
    with pytest.raises(BundleError, match=r"Build it again with: keras_trt.build\('"):
        keras_trt.load(path)
    report = built(path)
    assert not report.plans[0].reused
    assert "was damaged and is out of the bundle" in report.notes[0]
    assert len(read_bundle(path).manifest.plans) == 1
    assert len(list((path / "plans").glob("*.plan"))) == 1


def test_a_read_only_bundle_gets_its_plan_in_the_cache(path, plan_cache, monkeypatch):
    before = (path / "manifest.json").read_bytes()
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p) != path and real(p, mode))  # root may write all
    report = built(path)
    assert report.plans[0].file.is_relative_to(plan_cache)
    assert report.notes[0] == f"The plan is kept in the plan cache: `{path}` is read-only."
    assert built(path).plans[0].reused
    assert (path / "manifest.json").read_bytes() == before
    assert not (path / "plans").exists()


def test_into_keeps_the_plan_in_a_folder(path, tmp_path, monkeypatch):
    report = built(path, into=tmp_path / "mine")
    assert report.plans[0].file.is_relative_to(tmp_path / "mine")
    assert read_bundle(path).manifest.plans == ()
    calls = count_builds(monkeypatch)
    assert built(path, into=str(tmp_path / "mine")).plans[0].reused
    assert calls == []


def test_links_of_a_hub_are_replaced_and_what_they_lead_to_stays(path, tmp_path):
    """As in a cache of a model hub: every file of a snapshot is a link to a blob."""
    file = built(path).plans[0].file
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for name in ("manifest.json", "model.onnx", f"plans/{file.name}"):
        blob = blobs / name.replace("/", "-")
        (path / name).rename(blob)
        (path / name).symlink_to(blob)
    contents = {blob: blob.read_bytes() for blob in blobs.iterdir()}
    assert built(path).plans[0].reused, "read through the link"
    built(path, FAST)
    assert {blob: blob.read_bytes() for blob in blobs.iterdir()} == contents
    assert not (path / "manifest.json").is_symlink()
    assert len(read_bundle(path).manifest.plans) == 2


def test_nothing_is_written_through_a_link_out_of_the_bundle(path, tmp_path, plan_cache):
    (tmp_path / "elsewhere").mkdir()
    (path / "plans").symlink_to(tmp_path / "elsewhere")
    report = built(path)
    assert report.plans[0].file.is_relative_to(plan_cache)
    assert "is a link to a folder outside of the bundle" in report.notes[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_no_obstacle(path, plan_cache):
    (path / "plans").write_text("mine")
    report = built(path)
    assert report.plans[0].file.is_relative_to(plan_cache)
    assert "is not a folder" in report.notes[0]


def test_a_lock_that_cannot_be_had_is_no_obstacle(path, plan_cache):
    (path / "plans" / ".lock").mkdir(parents=True)
    (path / "plans" / ".lock").rmdir()
    (path / "plans" / ".lock").symlink_to(path / "gone" / "away")
    report = built(path)
    assert report.plans[0].file.is_relative_to(plan_cache)
    assert "the bundle's lock cannot be had" in report.notes[0]


def test_a_manifest_that_lies_about_its_plans_costs_no_other_file(path):
    manifest = read_bundle(path).manifest
    stamp = built(path).plans[0]
    lie = PlanStamp(
        "model.onnx", "tensorrt", "11", "linux", ("SM89",), manifest.onnx_sha256, 3, sha256="0" * 64
    )
    write_manifest(path, dataclasses.replace(manifest, plans=(lie,)))
    report = built(path, FAST)
    assert "`model.onnx` was damaged" in report.notes[0]
    assert (path / "model.onnx").exists()
    assert stamp.file.exists()
    assert len(read_bundle(path).manifest.plans) == 1


def test_into_is_not_the_bundle_itself(path):
    for into in (path, path / "plans"):
        with pytest.raises(InputError, match="`into` must be a folder outside of the bundle"):
            built(path, into=into)


def test_a_bundle_replaced_during_the_build_is_not_spoiled(path, monkeypatch):
    real = building.build_plan

    def build_plan(*arguments, **options):
        plan = real(*arguments, **options)
        other = conv_model(int8=False)
        with write_bundle(path, overwrite=True) as folder:
            onnx.save(other, folder / "model.onnx")
            write_manifest(folder, manifest_of(other, sha256_of(folder / "model.onnx")))
        return plan

    monkeypatch.setattr(building, "build_plan", build_plan)
    with pytest.raises(BundleError, match="was replaced by another model's during the build"):
        built(path)
    assert read_bundle(path).manifest.plans == ()
    assert list((path / "plans").glob("*.plan")) == []


RACE = """
import sys, json
sys.path.insert(0, {root!r})
import keras_trt
report = keras_trt.build({path!r}, "tensorrt_rtx", verbose=0, into={into!r},
                         config=keras_trt.EngineConfig(compute_capabilities="SM89"))
print(json.dumps([report.plans[0].reused, "tensorflow" in sys.modules, "keras" in sys.modules]))
"""


@pytest.mark.parametrize("cached", [False, True])
def test_two_processes_build_once(path, tmp_path, cached):
    code = RACE.format(root=str(ROOT), path=str(path), into=str(tmp_path / "cache") if cached else None)
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [json.loads(racer.communicate(timeout=120)[0].splitlines()[-1]) for racer in racers]
    assert sorted(reused for reused, *_ in said) == [False, True, True]
    assert not any(tensorflow or keras for _, tensorflow, keras in said)
    assert len(read_bundle(path).manifest.plans) == (0 if cached else 1)


FULL = """
import resource, sys
sys.path.insert(0, {root!r})
import keras_trt
from keras_trt.engine import build as building
real = building.build_plan
def build_plan(*arguments, **options):
    plan = real(*arguments, **options)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    return plan
building.build_plan = build_plan
try:
    keras_trt.build({path!r}, "tensorrt_rtx", verbose=0,
                    config=keras_trt.EngineConfig(compute_capabilities="SM89"))
except keras_trt.errors.BundleError as e:
    print(type(e.__cause__).__name__, e)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of file sizes")
def test_a_disk_that_takes_no_more_leaves_the_bundle_as_it_was(path, plan_cache):
    before = (path / "manifest.json").read_bytes()
    code = FULL.format(root=str(ROOT), path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"The plan was built and could not be kept in `{plan_cache}`" in done.stdout
    assert (path / "manifest.json").read_bytes() == before
    assert [p.name for p in (path / "plans").iterdir()] == [".lock"]
    assert [p for p in plan_cache.rglob("*") if p.suffix in (".plan", ".json")] == []


def test_a_bundle_that_cannot_take_a_plan_does_not_lose_it(path, plan_cache, monkeypatch):
    def add_plan(bundle, plan):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "add_plan", add_plan)
    report = built(path)
    assert "the bundle could not be written ([Errno 28]" in report.notes[0]
    assert report.plans[0].file.is_relative_to(plan_cache)


def test_auto_says_what_was_not_built_and_why(path, monkeypatch):
    monkeypatch.setattr(deps, "available", lambda module: module == "tensorrt_rtx")
    report = build(path, config=ADA, verbose=0)
    assert report.plans[0].kind == "tensorrt_rtx"
    assert report.not_built == {"tensorrt": "it is not installed: pip install 'keras-trt[tensorrt]'"}


def test_the_report_is_shown_written_and_can_be_quieted(path, capsys, tmp_path):
    report = build(path, "tensorrt_rtx", config=FAST, verbose=1)
    assert "optimization_level=0" in capsys.readouterr().out
    built(path)
    assert capsys.readouterr().out == ""
    assert "tensorrt_rtx (built)" in str(report)
    assert "<table>" in report._repr_html_()
    report.to_json(tmp_path / "report.json")
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["plans"][0]["config"] == {"optimization_level": 0}
    assert held["path"] == str(path)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"engine": "openvino"}, InputError, "`engine` must be one of .*Received: 'openvino'"),
        ({"engine": None}, InputError, "`engine` must be one of"),
        ({"config": {"tf32": False}}, InputError, "`config` must be a keras_trt.EngineConfig. Received: {"),
        ({"into": 3}, InputError, "`into` must be a path. Received: 3"),
        ({"into": __file__}, InputError, "`into` must be the path of a folder.*which is a file"),
        ({"verbose": "loud"}, InputError, "`verbose`"),
        ({"config": EngineConfig(compute_capabilities="SM99")}, InputError, "knows: .*Received: .*SM99"),
        ({"config": EngineConfig(sparse_weights=True)}, InputError, "no layer of the bundle has it"),
        ({"config": EngineConfig(version_compatible=True)}, InputError, "engine='tensorrt' only"),
        ({"config": dataclasses.replace(ADA, hardware_compatibility="ampere_plus")}, EngineError, "does not"),
    ],
)
def test_a_wrong_argument_is_named_and_the_bundle_stays(path, arguments, error, text):
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(error, match=text):
        build(path, **({"engine": "tensorrt_rtx", "verbose": 0} | arguments))
    assert (path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("wrong", [None, 3, "", "a\0b", b"b"])
def test_a_path_that_is_none_is_an_input_error(wrong):
    with pytest.raises(InputError, match="`bundle` must be"):
        build(wrong)


def test_a_folder_that_is_no_bundle_is_one_error(tmp_path):
    with pytest.raises(BundleError, match="is not a bundle"):
        build(tmp_path)
    with pytest.raises(BundleError, match="No bundle at"):
        build(tmp_path / "gone")


def test_a_builder_that_is_not_installed_comes_with_its_pip_line(path, monkeypatch):
    monkeypatch.setattr(deps, "available", lambda module: False)
    with pytest.raises(MissingDependencyError, match=r"pip install 'keras-trt\[rtx\]'"):
        build(path, verbose=0)


def test_two_to_four_weights_turn_sparse_kernels_on_and_the_stamp_says_what_was_asked(path, monkeypatch):
    manifest = dataclasses.replace(read_bundle(path).manifest, sparsity={"2:4": ["conv1"]})
    write_manifest(path, manifest)
    calls = count_builds(monkeypatch)
    assert built(path).plans[0].config == {}
    assert built(path, dataclasses.replace(ADA, sparse_weights=False)).plans[0].config == {
        "sparse_weights": False
    }
    assert [options["config"].sparse_weights for options in calls] == [True, False]


def test_weights_beside_the_graph_are_part_of_the_key(path, tmp_path):
    manifest = read_bundle(path).manifest
    cache = PlanCache(tmp_path)
    one = dataclasses.replace(manifest, external_data={"w.bin": "0" * 64})
    other = dataclasses.replace(manifest, external_data={"w.bin": "1" * 64})
    larger = dataclasses.replace(manifest, batch=(1, 8, 64))
    assert len({cache.folder_of(m) for m in (manifest, one, other, larger)}) == 4


def test_the_front_door_has_the_same_function():
    assert module.build is build is keras_trt.build


WITHOUT_MEMORY = """
import resource, sys
sys.path.insert(0, {root!r})
from pathlib import Path
import keras_trt, tensorrt_rtx
from keras_trt import EngineConfig
from keras_trt.errors import EngineError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
try:
    keras_trt.build({path!r}, "tensorrt_rtx", config=EngineConfig(compute_capabilities="SM89"), verbose=0)
except EngineError as e:
    print(e)
"""


def refused_memory(folder):
    """Returns a bundle, its manifest before and what was told when the builder was refused memory.

    Its threads share the limit by chance: of ten builds one is not refused, and one in many never ends.
    """
    for attempt in range(10):
        path = save_bundle(folder / f"b{attempt}", conv_model())
        before = read_bundle(path).manifest
        code = WITHOUT_MEMORY.format(root=str(ROOT), path=str(path))
        command = [sys.executable, "-c", code]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, done.stderr
            if done.stdout:
                return path, before, done.stdout
    raise AssertionError("the builder was never refused memory")


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_build_that_is_refused_memory_is_an_error_and_leaves_the_bundle(tmp_path):
    path, before, told = refused_memory(tmp_path)
    assert "could not build an engine from" in told
    assert "bad_alloc" in told
    assert read_bundle(path).manifest == before
    assert [file.name for file in (path / "plans").iterdir()] == [".lock"]
