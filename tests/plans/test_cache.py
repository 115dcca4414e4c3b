import dataclasses
import hashlib
import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import pytest

from keras_trt.bundle import PlanStamp
from keras_trt.engine import Audit, Plan, plan_cache_folder
from keras_trt.errors import InputError
from keras_trt.plans.cache import PlanCache, cache_of
from tests.permissions import as_a_user_without_rights
from tests.small_onnx import conv_model, manifest_of

DIGEST = "0" * 64
MANIFEST = manifest_of(conv_model(), DIGEST)


def plan_of(data=b"plan", **changes):
    stamp = PlanStamp(
        "plans/a.plan",
        "tensorrt",
        "11.4.0",
        "linux",
        ("SM89",),
        DIGEST,
        len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return Plan(data, dataclasses.replace(stamp, **changes), Audit(()), ())


@pytest.fixture
def cache(tmp_path):
    return PlanCache(tmp_path / "cache")


def test_a_stored_plan_is_found_by_its_bundle_alone(cache):
    stamp = cache.store(MANIFEST, plan_of())
    assert cache.entries(MANIFEST) == [stamp]
    assert cache.read(MANIFEST, stamp) == b"plan"
    assert cache.entries(manifest_of(conv_model(), "1" * 64)) == []


def test_the_same_build_takes_its_place_and_others_stand_beside_it(cache):
    cache.store(MANIFEST, plan_of(b"old"))
    new = cache.store(MANIFEST, plan_of(b"new"))
    assert cache.entries(MANIFEST) == [new]
    differing = [
        {"version": "11.5"},
        {"os": "windows"},
        {"compute_capabilities": ("SM90",)},
        {"kind": "tensorrt_rtx"},
        {"config": {"tf32": False}},
    ]
    for changes in differing:
        cache.store(MANIFEST, plan_of(b"other", **changes))
    assert len(cache.entries(MANIFEST)) == 6


def test_the_plan_that_was_built_last_comes_first(cache):
    stamps = [cache.store(MANIFEST, plan_of(version=version)) for version in ("1", "2", "3")]
    for age, stamp in enumerate(stamps):
        os.utime(cache.path_of(MANIFEST, stamp).with_suffix(".json"), (age, age))
    assert cache.entries(MANIFEST) == stamps[::-1]
    cache.prefer(MANIFEST, stamps[0])
    assert cache.entries(MANIFEST)[0] == stamps[0]


@pytest.mark.parametrize("damage", [b"", b"plam", b"plan and more"])
def test_a_plan_that_is_not_the_one_that_was_built_is_not_read(cache, damage, caplog):
    stamp = cache.store(MANIFEST, plan_of())
    cache.path_of(MANIFEST, stamp).write_bytes(damage)
    with caplog.at_level(logging.WARNING, "keras_trt"):
        assert cache.read(MANIFEST, stamp) is None
    assert "is damaged and not used: it is not the file that was built" in caplog.text
    cache.path_of(MANIFEST, stamp).unlink()
    assert cache.read(MANIFEST, stamp) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "[" * 100_000,
        '{"bytes": ' + "9" * 5000 + "}",
        json.dumps({"file": "../../etc/passwd"}),
        "\0",
    ],
    ids=range(9),
)
def test_a_damaged_stamp_is_said_and_passed_over(cache, text, caplog):
    stamp = cache.store(MANIFEST, plan_of())
    good = cache.store(MANIFEST, plan_of(version="12"))
    cache.path_of(MANIFEST, stamp).with_suffix(".json").write_text(text)
    with caplog.at_level(logging.WARNING, "keras_trt"):
        assert cache.entries(MANIFEST) == [good]
    (record,) = caplog.records
    assert "is damaged and not used" in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("file", "../../../secret.plan"),
        ("file", "/etc/passwd"),
        ("file", "other.plan"),
        ("sha256", None),
        ("onnx_sha256", "1" * 64),
        ("config", ["tf32"]),
        ("kind", "onnx"),
    ],
)
def test_a_stamp_cannot_point_elsewhere(cache, field, value):
    stamp = cache.store(MANIFEST, plan_of())
    path = cache.path_of(MANIFEST, stamp).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    assert cache.entries(MANIFEST) == []


def test_fields_of_later_versions_are_passed_over(cache):
    stamp = cache.store(MANIFEST, plan_of())
    path = cache.path_of(MANIFEST, stamp).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    assert cache.entries(MANIFEST) == [stamp]


def test_a_write_that_fails_leaves_nothing(cache, monkeypatch):
    def replace(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", replace)
    with pytest.raises(OSError, match="No space left"):
        cache.store(MANIFEST, plan_of())
    assert list(cache.folder_of(MANIFEST).iterdir()) == []


def test_the_folder_is_the_users_own(cache):
    cache.store(MANIFEST, plan_of())
    assert cache.folder_of(MANIFEST).stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_holds_nobody_off(tmp_path):
    (tmp_path / "file").write_text("")
    cache = PlanCache(tmp_path / "file" / "cache")
    with cache.building(MANIFEST, "tensorrt"):
        assert cache.entries(MANIFEST) == []


def test_the_folder_is_the_one_of_the_variable_else_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_TRT_CACHE", str(tmp_path / "mine"))
    assert plan_cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("KERAS_TRT_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert plan_cache_folder() == tmp_path / "xdg" / "keras_trt"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert plan_cache_folder() == tmp_path / "home" / ".cache" / "keras_trt"


def test_a_user_without_a_home_has_no_cache_and_can_load(monkeypatch, tmp_path):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", home)
    monkeypatch.delenv("KERAS_TRT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(InputError, match="Set KERAS_TRT_CACHE to a folder"):
        plan_cache_folder()
    assert cache_of(None) is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_of(None) == PlanCache(tmp_path / "keras_trt", 20e9)


def test_what_the_argument_may_be(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TRT_CACHE", str(tmp_path / "mine"))
    assert cache_of(None) == PlanCache(tmp_path / "mine", 20e9)
    assert cache_of(False) is None
    assert cache_of(tmp_path) == cache_of(str(tmp_path)) == PlanCache(tmp_path)
    (tmp_path / "file").write_text("")
    for wrong in (True, 1, 0, "", tmp_path / "file", "~nobody-of-that-name/cache"):
        with pytest.raises(InputError, match="`cache` must be"):
            cache_of(wrong)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_cache_without_permission_holds_nobody_off(caplog):
    with tempfile.TemporaryDirectory() as folder:
        closed = Path(folder) / "closed"
        closed.mkdir(mode=0o700)
        (closed / "cache").mkdir()
        with as_a_user_without_rights(closed):
            cache = cache_of(closed / "cache")
            with cache.building(MANIFEST, "tensorrt"):
                assert cache.entries(MANIFEST) == []
            with pytest.raises(PermissionError):
                cache.store(MANIFEST, plan_of())
    assert caplog.records == []
