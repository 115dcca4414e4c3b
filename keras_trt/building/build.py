"""Builds plans of a bundle on the machine that will run them, and keeps them; no Keras is needed."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from keras_trt._base.arguments import check_one_of, check_path, check_verbose
from keras_trt._base.formats import is_quantized
from keras_trt._base.say import say
from keras_trt._machine import deps
from keras_trt._machine.disk import full_disk
from keras_trt.building.build_report import BuildReport, BuiltPlan, built_plan
from keras_trt.building.fastest import check_fastest, chosen_here, fastest_plan
from keras_trt.bundle.plan_stamp import PLAN_KINDS, PlanStamp
from keras_trt.bundle.read import Bundle, read_bundle
from keras_trt.engine import (
    EngineConfig,
    Plan,
    _trt,
    available_builders,
    check_config,
    choose_kind,
    plan_for,
)
from keras_trt.engine.machine.cache_folder import folder_named
from keras_trt.engine.targets import targets_of
from keras_trt.errors import BundleError, EngineError, InputError
from keras_trt.plans.add import add_plan, adding, can_add, intact, prefer_plan
from keras_trt.plans.cache import PlanCache, own_cache
from keras_trt.plans.key import same_build
from keras_trt.plans.limit import cache_limit

_ALONE = 'keep="fastest" had nothing to compare: the bundle is not quantised.'


def build(
    bundle: str | Path,
    engine: str = "auto",
    *,
    config: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    into: str | Path | None = None,
    keep: str | None = None,
    verbose: int = 1,
) -> BuildReport:
    """Builds a plan of a bundle, for this machine's GPU or ahead of time, and keeps it. Needs no Keras.

    The plan goes into the bundle; where that cannot be written, into the plan cache, where `load` finds it.
    A plan that is there already, whole and built alike, is not built again. Several processes build one after
    another.

    Args:
        bundle: The folder that `export` wrote.
        engine: `"tensorrt"` builds for this machine's GPU, `"tensorrt_rtx"` also for others, without one.
            `"auto"` takes the first that is installed and can build here.
        config: Options of the builder.
        into: A folder to keep the plan in instead, e.g. for `load(bundle, cache=into)`.
        keep: `"fastest"`: of a quantised bundle, build a plan of its graph without quantisers, too, in
            float16 (bfloat16 where its float part is that); time both in turns on this machine's GPU; keep
            the quantised one only where it is at least 1.02 times as fast. The plan's stamp in the manifest
            says so. Not run on a GPU yet. A bundle that is not quantised is built as with None.
        verbose: 1 shows the progress and the result, 0 nothing.

    Returns:
        What was built, reused, or not built and why, printable as a table.

    Raises:
        BundleError: No whole bundle at `bundle`, or the plan can be written nowhere.
        InputError: A wrong argument, or an option that does not go with the bundle.
        MissingDependencyError: The builder is not installed.
        EngineError: TensorRT refused the graph or the options, or there is no GPU to build for or to time on.

    Example:
        >>> config = keras_trt.EngineConfig(compute_capabilities="SM89", optimization_level=5)
        >>> report = keras_trt.build("digits.bundle", "tensorrt_rtx", config=config)
        >>> report.plans[0].file.exists()
        True
    """
    check_one_of(engine, ("auto", *PLAN_KINDS), "engine")
    check_one_of(keep, (None, "fastest"), "keep")
    check_config(config)
    check_verbose(verbose)
    cache_limit()  # a wrong one is told before a build, not after
    target = None if into is None else PlanCache(folder_named(check_path(into, "into"), "into"))
    opened = read_bundle(check_path(bundle, "bundle"), plans=False)
    if target is not None and target.folder.resolve().is_relative_to(opened.path.resolve()):
        raise InputError(
            "`into` must be a folder outside of the bundle; without `into` the plan goes into the bundle. "
            f"Received: {str(into)!r}"
        )
    if target is not None:
        _check_writable(target.folder_of(opened.manifest))
    compares = keep is not None and is_quantized(opened.manifest.precision)
    if compares:
        check_fastest(config)
    kinds = _kinds(engine)
    not_built = {
        kind: why for kind in PLAN_KINDS if kind not in kinds and (why := _unbuildable(kind, engine))
    }
    for last, kind in enumerate(kinds, 1):
        try:
            request = _Request(opened, kind, config, int(bool(verbose)), compares)
            plan, notes = _made_available(request, target)
        except EngineError as e:
            if last == len(kinds):
                raise
            not_built[kind] = str(e)
            continue
        told = [str(plan.chosen.get("why"))] if compares else [_ALONE] if keep is not None else []
        report = BuildReport(opened.path, opened.manifest.name, (plan,), not_built, (*told, *notes))
        say(report, verbose)
        return report
    raise AssertionError("there is always a kind")


def _check_writable(folder: Path) -> None:
    """Tells before a build, not after, that its plan could not be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    except OSError as e:
        raise InputError(f"`into` must be the path of a folder that can be written. Received: {e}") from e


@dataclass(frozen=True)
class _Request:
    bundle: Bundle
    kind: str
    config: EngineConfig
    verbose: int
    compares: bool = False

    def version(self) -> str:
        return _trt.version(_trt.load(self.kind, why=f"engine={self.kind!r}"))

    def targets(self) -> tuple[str, ...]:
        trt = _trt.load(self.kind, why=f"engine={self.kind!r}")
        return targets_of(trt, self.kind, self.config.compute_capabilities)

    def found_in(self, stamps: Iterable[PlanStamp]) -> list[PlanStamp]:
        """The stamps that a build would make anew."""
        targets = set(self.targets())
        return [
            stamp for stamp in stamps if targets <= set(stamp.compute_capabilities) and self._alike(stamp)
        ]

    def _alike(self, stamp: PlanStamp) -> bool:
        if self.compares and not chosen_here(stamp):
            return False
        precision = stamp.precision if self.compares else None
        asked = (self.bundle.manifest, self.kind, self.version(), _trt.system(), self.config, precision)
        return same_build(stamp, *asked)

    def built(self) -> tuple[Plan, float]:
        start = time.perf_counter()
        make = fastest_plan if self.compares else plan_for
        return make(self.bundle, self.kind, self.config, self.verbose), time.perf_counter() - start


def _kinds(engine: str) -> tuple[str, ...]:
    return (choose_kind(engine),) if engine != "auto" else available_builders() or (choose_kind(engine),)


def _unbuildable(kind: str, engine: str) -> str | None:
    if engine != "auto":
        return None
    if not deps.available(kind):
        return f"it is not installed: {_trt.install_line(kind)}"
    return "it builds for this machine's GPU, and there is none" if kind == "tensorrt" else None


def _made_available(request: _Request, target: PlanCache | None) -> tuple[BuiltPlan, list[str]]:
    """The plan, reused or built, and notes."""
    request.targets()  # wrong ones are told before the bundle gets a lock
    if target is not None:
        return _in_cache(request, target, [])
    why = can_add(request.bundle)
    if why is None:
        try:
            return _in_bundle(request)
        except OSError as e:
            why = f"the bundle's lock cannot be had ({e})"
    return _in_cache(request, own_cache(), [f"The plan is kept in the plan cache: {why}."])


def _in_bundle(request: _Request) -> tuple[BuiltPlan, list[str]]:
    with adding(request.bundle):
        now = read_bundle(request.bundle.path, plans=False)  # another process may have built meanwhile
        stamp = next((s for s in request.found_in(now.manifest.plans) if intact(now, s)), None)
        if stamp is not None:
            prefer_plan(now, stamp)
            return built_plan(stamp, now.plan_path(stamp)), []
        plan, seconds = request.built()
        try:
            stamp, notes = add_plan(request.bundle, plan)
        except OSError as e:
            stamp, file, notes = _saved_elsewhere(request, plan, e)
        else:
            file = request.bundle.plan_path(stamp)
    row = built_plan(stamp, file, seconds=seconds, computes=plan.audit.precisions)
    return row, [*notes, *plan.warnings]


def _saved_elsewhere(request: _Request, plan: Plan, error: OSError) -> tuple[PlanStamp, Path, list[str]]:
    """A plan that took long to build and that its bundle cannot take is not thrown away."""
    cache = own_cache()
    stamp = _store(request, cache, plan)
    note = f"The plan is kept in the plan cache: the bundle could not be written ({error})."
    return stamp, cache.path_of(request.bundle.manifest, stamp), [note]


def _in_cache(request: _Request, cache: PlanCache, notes: list[str]) -> tuple[BuiltPlan, list[str]]:
    manifest = request.bundle.manifest
    with cache.building(manifest, request.kind):
        for stamp in request.found_in(cache.entries(manifest)):
            if cache.read(manifest, stamp) is not None:
                with suppress(OSError):
                    cache.prefer(manifest, stamp)
                return built_plan(stamp, cache.path_of(manifest, stamp)), notes
        plan, seconds = request.built()
        stamp = _store(request, cache, plan)
    row = built_plan(stamp, cache.path_of(manifest, stamp), seconds=seconds, computes=plan.audit.precisions)
    return row, [*notes, *plan.warnings]


def _store(request: _Request, cache: PlanCache, plan: Plan) -> PlanStamp:
    try:
        return cache.store(request.bundle.manifest, plan)
    except OSError as e:
        lost = f"the plan was built and could not be kept in `{cache.folder}`"
        text = full_disk(e, cache.folder / "plans", lost) or (
            f"The plan was built and could not be kept in `{cache.folder}`: {e}. Name a folder with `into`, "
            "or for good with the environment variable KERAS_TRT_CACHE."
        )
        raise BundleError(text) from e
