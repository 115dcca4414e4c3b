"""Builds a quantised bundle's plan and that of its float graph, times both here, and takes one by a rule."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from keras_trt._base.formats import NARROW, float_type
from keras_trt._machine import deps
from keras_trt.bundle.plan_stamp import PlanStamp, plan_file
from keras_trt.bundle.probe import Probe, made_up
from keras_trt.bundle.read import Bundle
from keras_trt.engine import EngineConfig, Plan, gpus, plan_for
from keras_trt.errors import EngineError, InputError, RunnerError
from keras_trt.measuring.machine import machine
from keras_trt.runtime.choosing.trial import fault, least_on_gpu, probe_of
from keras_trt.runtime.feeds import Feeds, cast
from keras_trt.runtime.runners.runner import ProfileError, Runner
from keras_trt.runtime.runners.tensorrt.runner import TensorRTOptions, TensorRTRunner
from keras_trt.runtime.turns import Turns, take_turns, times_faster

LEAST = 1.02
"""How many times as fast as the float plan the quantised one must be: its rounding buys nothing but speed."""

CLOCK = time.perf_counter
_WHY = 'keep="fastest"'
_UNCUT = (
    "it does not cut activations off at the ends of their ranges; if that is all, the bundle's rows lie "
    "beyond them: export with `calibration_data`, of which the bundle then carries some"
)


def check_fastest(config: EngineConfig) -> None:
    """Tells before a build, not after, that its plans cannot be compared here.

    Raises:
        EngineError: No GPU.
        InputError: An option that does not go with it.
        MissingDependencyError: A package that is needed is not installed.
    """
    if not gpus():
        raise EngineError(
            f"{_WHY} times plans on a GPU of this machine, and it has no NVIDIA GPU or driver. Build on the "
            "machine that will run the bundle, or leave `keep` out."
        )
    here = gpus()[0]
    if config.compute_capabilities is not None and here.compute_capability not in config.compute_capabilities:
        raise InputError(
            f"{_WHY} times plans on this machine's {here.name}, of class {here.compute_capability}: "
            "`compute_capabilities` must name that, or be left out. "
            f"Received: {list(config.compute_capabilities)}"
        )
    if config.strip_weights:
        raise InputError(
            f"{_WHY} goes without `strip_weights`: such a plan takes its weights from the bundle's graph, "
            "which holds no float ones. Received: EngineConfig(strip_weights=True)"
        )
    deps.require("onnx_ir", install="keras-trt[onnxruntime]", why=_WHY)
    deps.require("cuda.bindings.driver", install="keras-trt[cuda]", why=_WHY)


def fastest_plan(bundle: Bundle, kind: str, config: EngineConfig, verbose: int = 0) -> Plan:
    """The faster of a quantised bundle's two plans; its stamp says why (`PlanStamp.chosen`).

    The quantised plan is taken only where it is `LEAST` times as fast as the other. One that cannot run here,
    or is wrong on the bundle's probe, is out, as for `load`: the float plan, too, has to give the quantised
    model's answers, but for their rounding.

    Raises:
        EngineError: The bundle's graph does not build, or neither plan is right.
    """
    quantized, low = names = bundle.manifest.precision, unquantized_precision(bundle.manifest.precision)
    probe = probe_of(bundle)  # a damaged one is told before minutes of building
    plans, left_out = {quantized: plan_for(bundle, kind, config, verbose)}, {}
    try:
        plans[low] = _unquantized_plan(bundle, kind, config, verbose)
    except EngineError as e:
        left_out[low] = f"it does not build: {_line(e)}"
    with ExitStack() as stack:
        runners, wrong = _tried(bundle, plans, probe, stack)
        if left_out | wrong:
            taken, facts = _only_one(runners, left_out | wrong)
        else:
            taken, facts = _faster(bundle, names, runners)
    chosen = {"precision": taken, **facts, "machine": this_machine()}
    return replace(plans[taken], stamp=replace(plans[taken].stamp, chosen=chosen))


def _unquantized_plan(bundle: Bundle, kind: str, config: EngineConfig, verbose: int) -> Plan:
    """The float graph's plan, stamped as one of the bundle."""
    from keras_trt.building.unquantized import unquantized

    precision = unquantized_precision(bundle.manifest.precision)
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_for(unquantized(bundle, precision, Path(folder)), kind, config, verbose)
    stamp = replace(
        plan.stamp,
        file=plan_file(kind, precision, *plan.stamp.compute_capabilities),
        onnx_sha256=bundle.manifest.onnx_sha256,
        precision=precision,
    )
    return replace(plan, stamp=stamp)


def unquantized_precision(precision: str) -> str:
    """What the float graph of a quantised one computes in: its 16 bits where it has such, else float16.

    Example:
        >>> unquantized_precision("int8"), unquantized_precision("int8+bf16")
        ('fp16', 'bf16')
    """
    return float_type(precision) if float_type(precision) in NARROW else "fp16"


def _tried(
    bundle: Bundle, plans: Mapping[str, Plan], probe: Probe | None, stack: ExitStack
) -> tuple[dict[str, Runner], dict[str, str]]:
    """The runners of the plans that are right on the probe, and what is wrong with the others."""
    right, wrong = dict[str, Runner](), dict[str, str]()
    for name, plan in plans.items():
        try:
            runner = stack.enter_context(_runner(plan, bundle))
        except (EngineError, RunnerError) as e:
            wrong[name] = f"it does not run: {_line(e)}"
            continue
        problem = None if probe is None else fault(runner, probe, least=least_on_gpu(runner))
        if problem is None:
            right[name] = runner
        else:
            wrong[name] = problem if runner.precision is None else f"{problem} ({_UNCUT})"
    return right, wrong


def _runner(plan: Plan, bundle: Bundle) -> Runner:
    """The plan on this machine's first GPU; a version-compatible one carries only the code just built."""
    options = TensorRTOptions(allow_host_code=plan.stamp.version_compatible)
    made = TensorRTRunner(plan.data, bundle.manifest, module=plan.stamp.kind, options=options)
    made.precision = plan.stamp.precision
    return made


def _rows(bundle: Bundle, runner: Runner) -> int:
    """The bundle's usual batch, as far as the plan's profiles hold it."""
    usual, most = bundle.manifest.batch[1], runner.batch_range[1]
    return runner.batch_for(usual if most is None else min(usual, most))


def _only_one(runners: Mapping[str, Runner], left_out: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The plan that is right, and why there is no other."""
    reasons = " ".join(f"{name} is out: {why}." for name, why in left_out.items())
    if not runners:
        raise EngineError(f"{_WHY}: neither plan is right here. {reasons}")
    taken = next(iter(runners))
    return taken, {"why": f"{taken} is kept. {reasons}", "left_out": dict(left_out)}


def _faster(
    bundle: Bundle, names: tuple[str, str], runners: Mapping[str, Runner]
) -> tuple[str, dict[str, Any]]:
    """Which plan is taken by its speed, and what was measured; the first name is the quantised plan's."""
    quantized, low = names
    rows = _rows(bundle, runners[quantized])
    turns = _turns(runners, cast(made_up(bundle.manifest, rows).inputs, bundle.manifest.inputs))
    faster = times_faster(turns[quantized], turns[low])
    taken = quantized if faster >= LEAST else low
    medians = {name: round(1e3 * statistics.median(turns[name].seconds), 6) for name in names}
    times = ", ".join(f"{name} {value:.4g} ms" for name, value in medians.items())
    rule = f"{quantized} is kept where it is at least {LEAST} times as fast as {low}"
    return taken, {
        "why": f"{taken} is kept: {times} a batch of {rows} (medians); {rule}.",
        "milliseconds": medians,
        "times_faster": round(faster, 4),
        "batch": rows,
        "rule": rule,
    }


def _turns(runners: Mapping[str, Runner], feeds: Feeds) -> dict[str, Turns]:
    try:
        return take_turns({name: partial(r.run, feeds) for name, r in runners.items()}, clock=CLOCK)
    except ProfileError as e:
        raise EngineError(
            f"{_WHY} times the bundle's usual sizes, and the plans were not built for these: {e} "
            "Let a profile hold them."
        ) from e


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def this_machine() -> dict[str, str]:
    """What a choice by speed holds for."""
    here = machine()
    return {"gpu": here.gpus[0] if here.gpus else "", "driver": here.driver, "processor": here.processor}


def chosen_here(stamp: PlanStamp) -> bool:
    """Whether a plan was taken by its speed on a machine like this one, not for want of another."""
    return "milliseconds" in stamp.chosen and stamp.chosen.get("machine") == this_machine()
