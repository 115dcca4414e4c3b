"""Lets a runner prove itself on a few rows before it is trusted.

Runtimes compute some graphs wrongly without an error (docs/pitfalls.md). No list of such graphs would hold
for the next version, so every bundle is tried where it lands.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keras_trt._base.formats import float_type, is_quantized
from keras_trt._base.tensors import BATCH_AXIS
from keras_trt._machine import deps
from keras_trt.bundle.probe import Probe, expect, made_up, read_probe, sample
from keras_trt.bundle.read import Bundle
from keras_trt.errors import RunnerError
from keras_trt.runtime.distance import distance, movement
from keras_trt.runtime.feeds import Feeds, cast
from keras_trt.runtime.predict import run_rows
from keras_trt.runtime.runners.cpu import REFERENCE
from keras_trt.runtime.runners.runner import ProfileError, Runner

FLOAT_ERROR = {"float32": 1e-3, "fp16": 3e-2, "bf16": 1e-1}
"""The relative error that a graph's float type explains."""

TF32_ERROR = FLOAT_ERROR["fp16"]
"""What a GPU may be off in float32, where it rounds factors to TF32, which has float16's digits."""

UNROUNDED_ERROR = 0.1
"""What a plan of a quantised graph may be off that was built without its quantisers.

It neither rounds activations nor cuts them off at the ends of their ranges, which was 1 to 5 % on rows as in
training: more than a runner may be off that rounds, too, and rounds a few numbers to the other side.
"""

_SHAKEN = {"int8": 1e-3, "float": 2.0**-22}
"""By which share of an input's spread it is moved, to see how much of the output is a matter of rounding."""


def float_error(precision: str) -> float:
    """`FLOAT_ERROR` of a bundle's precision, e.g. of `"int8+fp16"`."""
    return FLOAT_ERROR[float_type(precision)]


def least_on_gpu(runner: Runner) -> float:
    """The relative difference that is allowed of an engine on a GPU at least."""
    return TF32_ERROR if runner.precision is None else UNROUNDED_ERROR


def probe_of(bundle: Bundle) -> Probe | None:
    """The rows to try a runner of a bundle on, with what is right; None when nothing here can say so."""
    probe = read_probe(bundle) or made_up(bundle.manifest)
    probe = replace(probe, inputs=cast(probe.inputs, bundle.manifest.inputs))
    return probe if probe.expected is not None else _answered(bundle, probe)


def fault(runner: Runner, probe: Probe, *, least: float = 0.0) -> str | None:
    """What a runner computes wrongly; None when all is right within what rounding explains.

    Args:
        runner: What is tried.
        probe: The rows, with what is right.
        least: The relative difference that is allowed at least.
    """
    try:
        outputs = _run(runner, probe.inputs)
    except ProfileError:  # the engine was built for other sizes than the probe has, so that tells nothing
        return None
    except RunnerError as e:
        return f"it failed: {str(e).splitlines()[0]}"
    for name, held in (probe.expected or {}).items():
        array = np.asarray(outputs[name])
        if array.shape != held.shape:
            return f"output {name!r} has shape {array.shape} instead of {held.shape}"
        relative, _ = distance(held.sample, sample(array))
        allowed = max(held.allowed, least)
        if not relative <= allowed:
            return f"output {name!r} is {relative:.1%} off, {allowed:.2%} is allowed"
    return None


def _run(runner: Runner, inputs: Feeds) -> Feeds:
    """What a runner makes of the probe, in as many batches as it needs."""
    if any(spec.shape[:1] == (BATCH_AXIS,) for spec in runner.inputs):
        return run_rows(runner, inputs, runner.inputs, runner.outputs)
    return runner.run(inputs)


def _answered(bundle: Bundle, probe: Probe) -> Probe | None:
    """The probe with what the reference computes, and how much that moves when the input does a little."""
    if not deps.available(REFERENCE.name):
        return None
    share = _SHAKEN["int8" if is_quantized(bundle.manifest.precision) else "float"]
    rng = np.random.default_rng(0)
    shaken = {name: _shaken(x, share, rng) for name, x in probe.inputs.items()}
    try:
        with REFERENCE.make(bundle) as runner:
            right, moved = runner.run(probe.inputs), runner.run(cast(shaken, bundle.manifest.inputs))
    except RunnerError:
        return None
    error = float_error(bundle.manifest.precision)
    allowed = {name: error + 2 * movement(y, moved[name]) for name, y in right.items()}
    return replace(probe, expected=expect(right, allowed))


def _shaken(x: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    return x + share * x.std() * rng.standard_normal(x.shape) if x.dtype.kind == "f" and x.size else x
