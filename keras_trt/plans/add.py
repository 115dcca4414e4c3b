"""Adds a plan to a bundle that is already there, in steps of which none leaves it broken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from keras_trt._machine.lock import LOCK_FILE, locked
from keras_trt._machine.swap import replaced_file
from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import MANIFEST_FILE, Manifest
from keras_trt.bundle.plan_stamp import PLANS_FOLDER, PlanStamp
from keras_trt.bundle.read import Bundle, read_bundle
from keras_trt.engine import Plan
from keras_trt.errors import BundleError
from keras_trt.plans.key import graph_key, plan_key


def can_add(bundle: Bundle) -> str | None:
    """Why a plan cannot be put into the bundle; None where it can."""
    plans = bundle.path / PLANS_FOLDER
    if os.path.lexists(plans) and not plans.is_dir():
        return f"`{plans}` is not a folder"
    if plans.exists() and not plans.resolve().is_relative_to(bundle.path.resolve()):
        return f"`{plans}` is a link to a folder outside of the bundle"
    folders = [bundle.path, *([plans] if plans.exists() else [])]
    closed = next((folder for folder in folders if not os.access(folder, os.W_OK | os.X_OK)), None)
    return None if closed is None else f"`{closed}` is read-only"


def intact(bundle: Bundle, stamp: PlanStamp) -> bool:
    """Whether a plan of a bundle is there and is the file that was built."""
    path = bundle.plan_path(stamp)
    try:
        return path.stat().st_size == stamp.bytes and stamp.sha256 in (None, sha256_of(path))
    except OSError:
        return False


@contextmanager
def adding(bundle: Bundle) -> Iterator[None]:
    """While open, no other process adds to the bundle."""
    folder = bundle.path / PLANS_FOLDER
    folder.mkdir(exist_ok=True)
    with locked(folder / LOCK_FILE):
        yield


def add_plan(bundle: Bundle, plan: Plan) -> tuple[PlanStamp, list[str]]:
    """Puts a plan into a bundle; to be called inside `adding`.

    A plan that it takes the place of, and damaged ones, leave the manifest with it. The file of a plan never
    changes: a reader that holds the old manifest finds what that says, or reads again.

    Returns:
        The plan's stamp in the bundle, and notes.

    Raises:
        BundleError: The bundle holds another model by now.
        OSError: It cannot be written; the bundle is as it was.
    """
    folder = bundle.path / PLANS_FOLDER
    folder.mkdir(exist_ok=True)
    damaged = [old for old in _now(bundle).plans if not intact(bundle, old)]
    stamp = replace(plan.stamp, file=_free_name(bundle, plan.stamp))
    with replaced_file(bundle.plan_path(stamp)) as beside:
        beside.write_bytes(plan.data)
    try:
        gone = _listed(bundle, stamp, damaged)
    except BaseException:
        with suppress(OSError):
            bundle.plan_path(stamp).unlink()
        raise
    for old in gone:
        if old.file != stamp.file and fnmatchcase(old.file, f"{PLANS_FOLDER}/*.plan"):  # a manifest may lie
            with suppress(OSError):
                bundle.plan_path(old).unlink()
    return stamp, [f"`{old.file}` was damaged and is out of the bundle." for old in damaged]


def _listed(bundle: Bundle, stamp: PlanStamp, damaged: list[PlanStamp]) -> list[PlanStamp]:
    """Writes the manifest with a plan, and returns those that have left it."""
    # The folder in which the manifest is written lies in the bundle before that is read: where an exporter
    # puts another bundle in its place afterwards, there is no such folder any more, and this fails.
    with replaced_file(bundle.path / MANIFEST_FILE) as beside:
        now = _now(bundle)
        gone = [old for old in now.plans if old in damaged or plan_key(old) == plan_key(stamp)]
        plans = (stamp, *(old for old in now.plans if old not in gone))
        beside.write_text(replace(now, plans=plans).to_json(), encoding="utf-8")
    return gone


def _now(bundle: Bundle) -> Manifest:
    """The manifest on disk, of the same graph and weights."""
    now = read_bundle(bundle.path, verify=False, plans=False).manifest
    if graph_key(now) != graph_key(bundle.manifest):
        raise BundleError(f"The bundle `{bundle.path}` was replaced by another model's during the build.")
    return now


def prefer_plan(bundle: Bundle, stamp: PlanStamp) -> None:
    """Makes a plan the first of its bundle, which `load` tries first; to be called inside `adding`."""
    if bundle.manifest.plans[0] == stamp:
        return
    with replaced_file(bundle.path / MANIFEST_FILE) as beside:
        now = _now(bundle)
        plans = (stamp, *(other for other in now.plans if other != stamp))
        beside.write_text(replace(now, plans=plans).to_json(), encoding="utf-8")


def _free_name(bundle: Bundle, stamp: PlanStamp) -> str:
    """The stamp's file, or one of its own where there is such a file already."""
    if not os.path.lexists(bundle.path / stamp.file):
        return stamp.file
    path = PurePosixPath(stamp.file)
    return str(path.with_name(f"{path.stem}-{str(stamp.sha256)[:12]}{path.suffix}"))
