"""The runners that a bundle can have on a GPU: of a plan in it, of one in the cache, of one built now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from keras_trt._base.say import LOGGER
from keras_trt._machine import deps
from keras_trt.bundle.plan_stamp import PlanStamp
from keras_trt.bundle.read import Bundle
from keras_trt.engine import EngineConfig, _trt, available_builders, gpus, plan_for
from keras_trt.engine.config import config_of
from keras_trt.errors import InputError, KerasTRTError
from keras_trt.plans import PlanCache, same_build
from keras_trt.runtime.choosing.misfit import misfit
from keras_trt.runtime.runners.runner import Runner, explained
from keras_trt.runtime.runners.tensorrt._cuda import Device
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions, TensorRTRunner

SAFER: dict[str, Any] = {"optimization_level": 0, "tf32": False}
"""How an engine is built where one built otherwise has been wrong: TensorRT's simplest kernels."""


@dataclass
class GpuRunners:
    """Makes the runners of a bundle on a GPU, one after the other, as long as somebody asks for the next.

    Attributes:
        bundle: What to run.
        modules: The TensorRTs that may run it.
        options: How an engine is run, and on which GPU.
        cache: Where plans are kept; None keeps none.
        verbose: 1 shows the progress of a build.
        notes: Why plans were not taken and none was built, as far as that is known yet.
    """

    bundle: Bundle
    modules: tuple[str, ...]
    options: TensorRTOptions
    cache: PlanCache | None = None
    verbose: int = 1
    notes: list[str] = field(default_factory=list)
    tried: set[str | None] = field(default_factory=set)
    wrong: bool = False

    def __iter__(self) -> Iterator[Runner]:
        manifest = self.bundle.manifest
        if not manifest.plans:
            self.notes.append("the bundle holds no plan")
        for stamp in manifest.plans:
            yield from self._of(stamp, f"plan {stamp.file}", self.bundle.read_plan)
        if self.cache is not None:
            for stamp in self.cache.entries(manifest):
                yield from self._of(stamp, "the cached plan", self._cached)
        yield from self._built()

    def reject(self, runner: Runner, problem: str) -> None:
        """Notes that a runner computes wrongly, and what; those that are made afterwards are built safer."""
        origin = runner.reason.rpartition("; ")[2]  # before it stands what was noted until then
        self.notes.append(f"{runner.name} ({origin}) computes it wrongly: {problem}")
        self.wrong = True

    def _of(self, stamp: PlanStamp, name: str, read: Any) -> Iterator[Runner]:
        """The runner of a plan, where it fits and is whole."""
        name += f" ({stamp.precision})" if stamp.precision else ""
        for module in self.modules:
            if not _can_load(module, stamp):
                continue
            problem = self._misfit(stamp, module)
            if problem is None:
                self.tried.add(stamp.sha256)
                try:
                    made = self._runner(read(stamp), stamp, module)
                except KerasTRTError as e:
                    problem = str(e)
                else:
                    yield explained(made, f"{name} fits this machine")
                    return
            self.notes.append(f"{name}: {problem}")

    def _cached(self, stamp: PlanStamp) -> bytes:
        data = None if self.cache is None else self.cache.read(self.bundle.manifest, stamp)
        if data is None:
            raise InputError("it is damaged or gone")
        return data

    def _misfit(self, stamp: PlanStamp, module: str) -> str | None:
        return misfit(
            stamp,
            version=_trt.version(_trt.load(module, why=f"plan {stamp.file}")),
            os=_trt.system(),
            compute_capability=gpus()[self.options.device].compute_capability,
            onnx_sha256=self.bundle.manifest.onnx_sha256,
            allow_host_code=self.options.allow_host_code,
        )

    def _runner(self, plan: bytes, stamp: PlanStamp, module: str) -> Runner:
        if stamp.config.get("strip_weights"):
            trt = _trt.load(module, why=f"plan {stamp.file}")
            with self._on_device():
                engine = _trt.deserialize(trt, plan, allow_host_code=self.options.allow_host_code)
                plan = _trt.refit(trt, engine, self.bundle.onnx_path)
        made = TensorRTRunner(plan, self.bundle.manifest, module=module, options=self.options)
        made.precision = stamp.precision
        return made

    def _built(self) -> Iterator[Runner]:
        builders = [kind for kind in available_builders() if kind in self.modules]
        if not builders:
            self.notes.append("no TensorRT builder is installed")
        here = gpus()[self.options.device].compute_capability
        for kind, config in ((k, config) for k in builders for config in _configs(self.bundle, k)):
            targeted = config.with_targets([here])
            if not self.wrong:
                yield from self._built_with(kind, targeted, here)
            if self.wrong:
                yield from self._built_with(kind, replace(targeted, **SAFER), here)

    def _built_with(self, kind: str, config: EngineConfig, here: str) -> Iterator[Runner]:
        try:
            data, stamp, how = self._build_once(kind, config, here)
            made = self._runner(data, stamp, kind)
        except (KerasTRTError, MemoryError) as e:
            self.notes.append(f"building with {kind}: {e or 'no memory is left'}")
        else:
            kernels = " with its simplest kernels" if self.wrong else ""
            yield explained(made, "; ".join([*self.notes, f"{how}{kernels} for {here}"]))

    def _build_once(self, kind: str, config: EngineConfig, here: str) -> tuple[bytes, PlanStamp, str]:
        """A plan that another process has built meanwhile, or one that is built now and kept."""
        if self.cache is None:
            plan = self._plan(kind, config)
            return plan.data, plan.stamp, "built anew"
        manifest = self.bundle.manifest
        with self.cache.building(manifest, kind):
            for stamp in self.cache.entries(manifest):
                if stamp.sha256 not in self.tried and self._as_built(stamp, kind, config, here):
                    data = self.cache.read(manifest, stamp)
                    if data is not None:
                        return data, stamp, "built meanwhile by another process"
            plan = self._plan(kind, config)
            try:
                self.cache.store(manifest, plan)
            except OSError as e:
                LOGGER.warning("The plan of %s is not kept in `%s`: %s", manifest.name, self.cache.folder, e)
        return plan.data, plan.stamp, "built anew"

    def _as_built(self, stamp: PlanStamp, kind: str, config: EngineConfig, here: str) -> bool:
        version = _trt.version(_trt.load(kind, why=f"engine={kind!r}"))
        alike = same_build(stamp, self.bundle.manifest, kind, version, _trt.system(), config)
        return alike and here in stamp.compute_capabilities

    def _plan(self, kind: str, config: EngineConfig) -> Any:
        with self._on_device():
            return plan_for(self.bundle, kind, config, self.verbose, device=self.options.device)

    def _on_device(self) -> AbstractContextManager[Any]:
        """CUDA uses its first GPU unless told otherwise."""
        return Device(self.options.device) if self.options.device else nullcontext()


def _configs(bundle: Bundle, kind: str) -> Iterator[EngineConfig]:
    """Options to build with: those of the bundle's own plan of this kind; none where these do not do here."""
    for stamp in bundle.manifest.plans:
        if stamp.kind == kind and stamp.config:
            with suppress(InputError):  # an option of a later version
                yield config_of(stamp.config)
            break
    yield EngineConfig()


def _can_load(module: str, stamp: PlanStamp) -> bool:
    if not deps.available(module):
        return False
    if module == "tensorrt_lean":
        return stamp.kind == "tensorrt" and stamp.version_compatible
    return module == stamp.kind
