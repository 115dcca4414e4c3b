"""The builders of plans: which are here, and which is meant."""

from __future__ import annotations

from keras_trt._machine import deps
from keras_trt.bundle import PLAN_KINDS
from keras_trt.engine import _trt
from keras_trt.engine.machine.gpu import gpus
from keras_trt.errors import EngineError, InputError, MissingDependencyError


def available_builders() -> tuple[str, ...]:
    """The kinds that `build_plan` can build here: `"tensorrt"` needs its package and a GPU, RTX no GPU."""
    installed = [kind for kind in PLAN_KINDS if deps.available(kind)]
    return tuple(kind for kind in installed if kind != "tensorrt" or gpus())


def choose_kind(kind: str) -> str:
    """The builder to use for `kind`, which may be `"auto"`.

    Raises:
        InputError: An unknown kind.
        MissingDependencyError: No builder is installed.
        EngineError: TensorRT without a GPU.
    """
    if kind not in ("auto", *PLAN_KINDS):
        raise InputError(f"`engine` must be one of {['auto', *PLAN_KINDS]}. Received: {kind!r}")
    usable = available_builders()
    if kind == "auto":
        if not usable:
            lines = " or ".join(_trt.install_line(k) for k in reversed(PLAN_KINDS))
            raise MissingDependencyError(f"No TensorRT builder is installed. Install one with: {lines}")
        return usable[0]
    if kind == "tensorrt" and deps.available(kind) and kind not in usable:
        raise EngineError(
            "engine='tensorrt' builds for this machine's GPU, and no GPU or driver was found. Use "
            f"engine='tensorrt_rtx', which builds ahead of time: {_trt.install_line('tensorrt_rtx')}"
        )
    return kind
