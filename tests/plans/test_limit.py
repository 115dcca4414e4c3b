"""The plan cache stays below a size, whoever else uses it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_trt.building.build import build
from keras_trt.errors import InputError
from keras_trt.plans.cache import PlanCache, cache_of
from keras_trt.plans.limit import cache_limit
from tests.plans.test_cache import DIGEST, MANIFEST, plan_of
from tests.small_onnx import conv_model, manifest_of

KILO = b"x" * 1000
OTHER = manifest_of(conv_model(), "1" * 64)
ROOT = Path(__file__).parents[2]


def stored(cache, version, age, manifest=MANIFEST, data=KILO):
    digest = DIGEST if manifest is MANIFEST else "1" * 64
    stamp = cache.store(manifest, plan_of(data, version=version, onnx_sha256=digest))
    used(cache, stamp, age, manifest)
    return stamp


def used(cache, stamp, age, manifest=MANIFEST):
    now = cache.path_of(manifest, stamp).with_suffix(".json").stat().st_mtime
    os.utime(cache.path_of(manifest, stamp), (now - age, now - age))


def versions(cache, manifest=MANIFEST):
    return {stamp.version for stamp in cache.entries(manifest)}


def test_the_least_recently_used_plans_of_all_bundles_go_first(tmp_path, caplog):
    cache = PlanCache(tmp_path, 3500)
    stored(cache, "1", 100)
    stored(cache, "2", 400, OTHER)
    stored(cache, "3", 200)
    with caplog.at_level(logging.INFO, "keras_trt"):
        stored(cache, "4", 0)
    assert (versions(cache), versions(cache, OTHER)) == ({"1", "3", "4"}, set())
    (record,) = caplog.records
    assert "holds more than 3.5e-06 GB" in record.getMessage()
    stored(cache, "5", 0, OTHER, data=KILO * 2)
    assert (versions(cache), versions(cache, OTHER)) == ({"4"}, {"5"})
    assert len([*tmp_path.glob("plans/*/*.plan")]) == len([*tmp_path.glob("plans/*/*.json")]) == 2


def test_reading_a_plan_is_using_it_and_does_not_change_which_is_tried_first(tmp_path):
    cache = PlanCache(tmp_path, 2500)
    first = stored(cache, "1", 300)
    stored(cache, "2", 200)
    order = cache.entries(MANIFEST)
    assert cache.read(MANIFEST, first) == KILO
    assert cache.entries(MANIFEST) == order
    stored(cache, "3", 0)
    assert versions(cache) == {"1", "3"}


def test_what_is_stored_stays_though_it_is_larger_than_all(tmp_path):
    cache = PlanCache(tmp_path, 500)
    stored(cache, "1", 100)
    stamp = stored(cache, "2", 0)
    assert versions(cache) == {"2"}
    assert cache.read(MANIFEST, stamp) == KILO


def test_a_plan_that_is_gone_meanwhile_is_no_damage(tmp_path, caplog):
    cache = PlanCache(tmp_path)
    stamp = stored(cache, "1", 0)
    cache.path_of(MANIFEST, stamp).unlink()
    with caplog.at_level(logging.INFO, "keras_trt"):
        assert cache.read(MANIFEST, stamp) is None
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "is gone" in record.getMessage()


def test_what_cannot_be_removed_costs_no_other_its_place(tmp_path, monkeypatch):
    cache = PlanCache(tmp_path, 2500)
    kept = stored(cache, "1", 300)
    stored(cache, "2", 200)
    unlink = Path.unlink

    def held(self, missing_ok=False):
        if self.stem == Path(kept.file).stem:
            raise PermissionError(13, "Permission denied")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", held)
    stored(cache, "3", 0)
    assert versions(cache) == {"1", "3"}


def test_a_cache_that_others_may_only_read_is_read(tmp_path, monkeypatch):
    cache = PlanCache(tmp_path)
    stamp = stored(cache, "1", 0)

    def utime(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", utime)
    assert cache.read(MANIFEST, stamp) == KILO


WRITER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from keras_trt.plans.cache import PlanCache
from tests.plans.test_cache import MANIFEST, plan_of
cache = PlanCache(Path({folder!r}), 4500)
for turn in range(25):
    stamp = cache.store(MANIFEST, plan_of(b"x" * 1000, version=f"{{turn % 3}}.{name}"))
    assert cache.read(MANIFEST, stamp) in (b"x" * 1000, None)
"""


def test_processes_that_store_at_once_leave_whole_pairs_within_the_limit(tmp_path):
    code = [WRITER.format(root=str(ROOT), folder=str(tmp_path), name=name) for name in range(3)]
    writers = [subprocess.Popen([sys.executable, "-W", "error", "-c", text]) for text in code]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    cache = PlanCache(tmp_path)
    stamps = cache.entries(MANIFEST)
    assert 1 <= len(stamps) <= 4
    assert all(cache.read(MANIFEST, stamp) == KILO for stamp in stamps)
    assert len([*tmp_path.glob("plans/*/*.plan")]) == len([*tmp_path.glob("plans/*/*.json")]) == len(stamps)


def test_the_users_own_cache_has_a_limit_and_a_folder_that_is_named_has_none(tmp_path, monkeypatch):
    assert cache_of(None).limit == 20e9
    monkeypatch.setenv("KERAS_TRT_CACHE_GB", "1.5")
    assert cache_of(None).limit == 1.5e9
    assert cache_of(tmp_path).limit == float("inf")
    monkeypatch.setenv("KERAS_TRT_CACHE_GB", "inf")
    assert cache_of(None).limit == float("inf")
    monkeypatch.setenv("KERAS_TRT_CACHE_GB", "")
    assert cache_limit() == 20e9


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "20GB", "x"])
def test_a_limit_that_is_none_is_named_before_anything_is_built(tmp_path, monkeypatch, wrong):
    monkeypatch.setenv("KERAS_TRT_CACHE_GB", wrong)
    with pytest.raises(InputError, match=f"`KERAS_TRT_CACHE_GB` must be a number of GB.*Received: '{wrong}'"):
        cache_of(None)
    with pytest.raises(InputError, match="KERAS_TRT_CACHE_GB"):
        build(tmp_path / "no bundle", verbose=0)
