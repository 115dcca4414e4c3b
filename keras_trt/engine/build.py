"""Builds a serialized engine (a plan) from an ONNX file, with TensorRT 10, TensorRT 11 or TensorRT-RTX."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_trt import _deps
from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import PlanStamp, plan_file
from keras_trt.engine import _trt
from keras_trt.engine.audit import Audit, audit_network
from keras_trt.engine.gpu import gpus
from keras_trt.engine.profile import add_profile
from keras_trt.engine.progress import build_progress
from keras_trt.errors import EngineError, InputError, MissingDependencyError

AHEAD_OF_TIME = ("SM86", "SM89", "SM120")
"""GPU classes that TensorRT-RTX builds for on a machine without a GPU: Ampere, Ada and Blackwell cards."""

FIRST_WITH_FP8 = 89


@dataclass(frozen=True)
class Plan:
    """A serialized engine and what is known of it.

    Attributes:
        data: The plan's bytes.
        stamp: Where it can run and what it was built from.
        audit: What the parsed network held, layer by layer.
        warnings: TensorRT's warnings during the build, each once.
    """

    data: bytes
    stamp: PlanStamp
    audit: Audit
    warnings: tuple[str, ...]


def available_builders() -> tuple[str, ...]:
    """The kinds that `build_plan` can build here: `"tensorrt"` needs its package and a GPU, RTX no GPU."""
    installed = [kind for kind in _trt.KINDS if _deps.available(kind)]
    return tuple(kind for kind in installed if kind != "tensorrt" or gpus())


def build_plan(
    onnx_path: str | Path,
    *,
    kind: str = "auto",
    batch: int | Sequence[int] = (1, 8, 32),
    input_shapes: Mapping[str, Any] | None = None,
    compute_capabilities: Sequence[str] | None = None,
    sparse_weights: bool = False,
    version_compatible: bool = False,
    timing_cache: str | Path | None = None,
    verbose: int = 1,
) -> Plan:
    """Builds a plan. The precision is what the ONNX graph says: strongly typed, always.

    Args:
        onnx_path: The model; weights in external files are found beside it.
        kind: `"tensorrt"` (for this machine's GPU), `"tensorrt_rtx"` (for any GPUs, ahead of time), or
            `"auto"`: TensorRT where it and a GPU are there, else RTX.
        batch: Size of the axis named `"batch"`: a number or (min, opt, max).
        input_shapes: Sizes of other dynamic axes, by axis (`{"time": (1, 64, 256)}`) or by input
            (`{"image": (None, 224, 224, 3)}`).
        compute_capabilities: RTX only: the GPU classes to build for, e.g. `["SM89"]`. None means this
            machine's GPU if RTX knows it, else SM86, SM89 and SM120.
        sparse_weights: Let TensorRT use 2:4 sparse kernels where the weights have that pattern.
        version_compatible: TensorRT only: a plan that later versions and the lean runtime can run. It carries
            code, so running it needs the user's explicit leave.
        timing_cache: TensorRT only: a file that keeps measured kernel times between builds.
        verbose: 0 is quiet, 1 draws a progress bar.

    Raises:
        InputError: A wrong argument.
        MissingDependencyError: No builder is installed.
        EngineError: The parser refused the graph (with the node's name) or the build failed.

    Example:
        >>> plan = build_plan("model.onnx", kind="tensorrt_rtx")  # doctest: +SKIP
        >>> plan.stamp.compute_capabilities  # doctest: +SKIP
        ('SM86', 'SM89', 'SM120')
    """
    path = Path(onnx_path)
    if not path.is_file():
        raise InputError(
            f"`onnx_path` must be an ONNX file. Received: {str(onnx_path)!r}, which does not exist."
        )
    kind = _choose_kind(kind)
    if version_compatible and kind != "tensorrt":
        raise InputError(
            f"`version_compatible` plans exist with kind='tensorrt' only. Received: kind={kind!r}"
        )
    trt = _trt.load(kind, why=f"engine={kind!r}")
    targets = _targets(trt, kind, compute_capabilities)
    cache = Path(timing_cache) if timing_cache is not None and kind == "tensorrt" else None
    flags = {"SPARSE_WEIGHTS": sparse_weights, "VERSION_COMPATIBLE": version_compatible}
    with _trt.captured_log() as messages:
        builder = _trt.create_builder(trt)
        network = _trt.create_network(trt, builder)
        _trt.parse(trt, network, path)
        audit = audit_network(network)
        targets, left_out = _that_compute(audit, targets, asked=compute_capabilities is not None)
        config = builder.create_builder_config()
        add_profile(builder, network, config, batch=batch, input_shapes=input_shapes)
        _trt.set_compute_capabilities(trt, config, targets)
        for flag in (name for name, wanted in flags.items() if wanted):
            _trt.set_flag(trt, config, flag)
        _trt.load_timing_cache(config, cache)
        with build_progress(trt, config, f"Building {kind} engine", verbose):
            serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise EngineError(_build_failed(trt, kind, path, messages))
    _trt.save_timing_cache(config, cache)
    data = bytes(memoryview(serialized))
    stamp = _stamp(trt, kind, targets, path, data)
    stamp = replace(stamp, version_compatible=version_compatible)
    return Plan(data, stamp, audit, (*left_out, *_trt.with_severity(messages, "WARNING")))


def _stamp(trt: ModuleType, kind: str, targets: tuple[str, ...], path: Path, data: bytes) -> PlanStamp:
    return PlanStamp(
        file=plan_file(kind, *targets),
        kind=kind,
        version=_trt.version(trt),
        os=_trt.system(),
        compute_capabilities=targets,
        onnx_sha256=sha256_of(path),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _choose_kind(kind: str) -> str:
    if kind not in ("auto", *_trt.KINDS):
        raise InputError(f"`kind` must be one of {['auto', *_trt.KINDS]}. Received: {kind!r}")
    usable = available_builders()
    if kind == "auto":
        if not usable:
            lines = " or ".join(_trt.install_line(k) for k in reversed(_trt.KINDS))
            raise MissingDependencyError(f"No TensorRT builder is installed. Install one with: {lines}")
        return usable[0]
    if kind == "tensorrt" and _deps.available(kind) and kind not in usable:
        raise EngineError(
            "kind='tensorrt' builds for this machine's GPU, and no GPU or driver was found. Use "
            f"kind='tensorrt_rtx', which builds ahead of time: {_trt.install_line('tensorrt_rtx')}"
        )
    return kind


def _targets(trt: ModuleType, kind: str, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The GPU classes the plan will run on."""
    known = _trt.compute_capabilities(trt)
    here = tuple(dict.fromkeys(g.compute_capability for g in gpus()[:1]))
    if not known:  # this builder knows its own GPU only
        if asked is not None and tuple(asked) != here:
            raise InputError(
                f"`compute_capabilities` cannot be chosen with kind={kind!r}, which builds for the GPU of "
                f"this machine, {list(here)}. Received: {list(asked)}. Use kind='tensorrt_rtx'."
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


def _that_compute(
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


def _build_failed(trt: ModuleType, kind: str, path: Path, messages: list[tuple[str, str]]) -> str:
    text = f"{kind} {_trt.version(trt)} could not build an engine from `{path}`:{_trt.errors(messages)}"
    if "memory" in text.lower() and gpus():
        text += (
            "\nTensorFlow takes all GPU memory by default; leave some to the builder with: "
            "tf.config.experimental.set_memory_growth(gpu, True) before TensorFlow first uses the GPU."
        )
    return text
