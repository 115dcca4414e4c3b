"""Which classes of GPU a plan is built for."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from keras_trt.engine import _trt
from keras_trt.engine.audit import Audit
from keras_trt.engine.machine.gpu import gpus
from keras_trt.errors import InputError

AHEAD_OF_TIME = ("SM86", "SM89", "SM120")
"""GPU classes that TensorRT-RTX builds for on a machine without a GPU: Ampere, Ada and Blackwell cards."""

FIRST_WITH_FP8 = 89


def targets_of(trt: ModuleType, kind: str, asked: Sequence[str] | None, device: int = 0) -> tuple[str, ...]:
    """The GPU classes the plan will run on."""
    known = _trt.compute_capabilities(trt)
    here = tuple(dict.fromkeys(g.compute_capability for g in gpus()[device : device + 1]))
    if not known:  # this builder knows its own GPU only
        if asked is not None and tuple(asked) != here:
            raise InputError(
                f"`compute_capabilities` cannot be chosen with engine={kind!r}, which builds for the GPU of "
                f"this machine, {list(here)}. Received: {list(asked)}. Use engine='tensorrt_rtx'."
            )
        return here
    if asked is None:
        return here if here and here[0] in known else AHEAD_OF_TIME
    if isinstance(asked, str):
        asked = (asked,)
    wrong = [c for c in asked if c not in known]
    if wrong or not asked:
        raise InputError(
            f"`compute_capabilities` must be GPU classes that {kind} {_trt.version(trt)} knows: "
            f"{list(known)}. Received: {list(asked)}"
        )
    return tuple(dict.fromkeys(asked))


def that_compute(
    audit: Audit, targets: tuple[str, ...], *, asked: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The targets that have what the network needs, and a warning when that leaves out some."""
    types = {dtype for record in audit.layers for dtype in (*record.inputs, *record.outputs)}
    older = [name for name in targets if int(name.removeprefix("SM")) < FIRST_WITH_FP8]
    if not older or not any(dtype.startswith("float8") for dtype in types):
        return targets, ()
    left = tuple(name for name in targets if name not in older)
    if asked or not left:
        raise InputError(
            f"fp8 needs GPUs of class SM{FIRST_WITH_FP8} or newer. Received: a network in fp8 for "
            f"{', '.join(older)}. Leave these out of `compute_capabilities`, or quantise to int8."
        )
    return left, (f"Built for {', '.join(left)} only: fp8 needs SM{FIRST_WITH_FP8} or newer.",)
