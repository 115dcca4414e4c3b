"""Builds a serialized engine (a plan) from an ONNX file, with TensorRT 10, TensorRT 11 or TensorRT-RTX."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.plan_stamp import PlanStamp, plan_file
from keras_trt.bundle.read import Bundle
from keras_trt.engine import _trt
from keras_trt.engine.apply import apply_config
from keras_trt.engine.audit import Audit, audit_network
from keras_trt.engine.config import EngineConfig
from keras_trt.engine.machine.cache_folder import plan_cache_folder
from keras_trt.engine.machine.gpu import gpus
from keras_trt.engine.machine.kinds import choose_kind
from keras_trt.engine.profile import add_profiles
from keras_trt.engine.progress import build_progress
from keras_trt.engine.targets import targets_of, that_compute
from keras_trt.engine.timing_cache import load_timing_cache, save_timing_cache, timing_file
from keras_trt.errors import EngineError, InputError


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


def build_plan(
    onnx_path: str | Path,
    *,
    kind: str = "auto",
    batch: int | Sequence[int] = (1, 8, 32),
    input_shapes: Mapping[str, object] | None = None,
    config: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    device: int = 0,
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
        config: The builder's options. What its profiles leave out, `batch` and `input_shapes` say.
        device: The number of the GPU that is CUDA's current one.
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
    kind = choose_kind(kind)
    if config.version_compatible and kind != "tensorrt":
        raise InputError(
            f"`version_compatible` plans exist with engine='tensorrt' only. Received: engine={kind!r}"
        )
    trt = _trt.load(kind, why=f"engine={kind!r}")
    targets = targets_of(trt, kind, config.compute_capabilities, device)
    times = _times(trt, kind, config, device)
    with _trt.captured_log() as messages:
        builder = _trt.create_builder(trt)
        network = _trt.create_network(trt, builder)
        _trt.parse(trt, network, path)
        audit = audit_network(network)
        targets, left_out = that_compute(audit, targets, asked=config.compute_capabilities is not None)
        builder_config = builder.create_builder_config()
        add_profiles(builder, network, builder_config, batch, input_shapes, config.profiles)
        _trt.set_compute_capabilities(trt, builder_config, targets)
        apply_config(trt, builder, builder_config, config)
        load_timing_cache(builder_config, times)
        with build_progress(trt, builder_config, f"Building {kind} engine", verbose):
            serialized = builder.build_serialized_network(network, builder_config)
    if serialized is None:
        raise EngineError(_build_failed(trt, kind, path, messages, config))
    save_timing_cache(builder_config, times)
    data = bytes(memoryview(serialized))
    stamp = _stamp(trt, kind, targets, path, data, config)
    return Plan(data, stamp, audit, (*left_out, *_trt.with_severity(messages, "WARNING")))


def plan_for(bundle: Bundle, kind: str, config: EngineConfig, verbose: int = 0, *, device: int = 0) -> Plan:
    """Builds a plan of a bundle's graph for the sizes that its manifest promises.

    Raises:
        InputError: An option that does not go with the bundle.
        EngineError: As of `build_plan`.
    """
    manifest = bundle.manifest
    sparse = bool(manifest.sparsity.get("2:4"))
    if config.sparse_weights and not sparse:
        raise InputError(
            "`sparse_weights` needs weights in the 2:4 pattern, and no layer of the bundle has it. Received: "
            "EngineConfig(sparse_weights=True). Prune with: keras_trt.prune_model(model, pattern='2:4')"
        )
    plan = build_plan(
        bundle.onnx_path,
        kind=kind,
        batch=manifest.batch,
        input_shapes=manifest.axis_sizes,
        config=replace(config, sparse_weights=sparse) if config.sparse_weights is None and sparse else config,
        device=device,
        verbose=verbose,
    )
    return replace(plan, stamp=replace(plan.stamp, config=config.stamped()))


def _times(trt: ModuleType, kind: str, config: EngineConfig, device: int) -> Path | None:
    """The file of measured times; TensorRT-RTX, which chooses kernels where they run, has none."""
    if not config.timing_cache or kind != "tensorrt":
        return None
    folder = plan_cache_folder() / "timing" if config.timing_cache is True else Path(config.timing_cache)
    return timing_file(folder, kind, _trt.version(trt), gpus()[device])


def _stamp(
    trt: ModuleType, kind: str, targets: tuple[str, ...], path: Path, data: bytes, config: EngineConfig
) -> PlanStamp:
    return PlanStamp(
        file=plan_file(kind, *targets),
        kind=kind,
        version=_trt.version(trt),
        os=_trt.system(),
        compute_capabilities=targets,
        onnx_sha256=sha256_of(path),
        bytes=len(data),
        version_compatible=config.version_compatible,
        sha256=hashlib.sha256(data).hexdigest(),
        config=config.stamped(),
    )


def _build_failed(
    trt: ModuleType, kind: str, path: Path, messages: list[tuple[str, str]], config: EngineConfig
) -> str:
    told = _trt.errors(messages)
    text = f"{kind} {_trt.version(trt)} could not build an engine from `{path}`:{told}"
    if missing := re.search(r"(\S+) has no runners that implement it", told):
        text += (
            f"\n{kind} imports node {missing[1]!r} and has no kernel for it. Leave its layer out of the "
            "model and run it beside the engine, or load the bundle on another runner."
        )
    if options := config.stamped():
        text += f"\nIt was asked for with {options}; without these it may build."
    if "memory" in text.lower() and gpus():
        text += (
            "\nTensorFlow takes all GPU memory by default; leave some to the builder with: "
            "tf.config.experimental.set_memory_growth(gpu, True) before TensorFlow first uses the GPU."
        )
    return text
