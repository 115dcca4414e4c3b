"""Hands the options of an `EngineConfig` to TensorRT's builder."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from keras_trt.engine import _trt
from keras_trt.engine.config import EngineConfig
from keras_trt.errors import EngineError

if TYPE_CHECKING:
    from tensorrt import Builder, IBuilderConfig

# An option's name here, and what it is called in TensorRT.
ATTRIBUTES = {"optimization_level": "builder_optimization_level", "aux_streams": "max_aux_streams"}
CHOICES = {
    "tiling": ("tiling_optimization_level", "TilingOptimizationLevel"),
    "hardware_compatibility": ("hardware_compatibility_level", "HardwareCompatibilityLevel"),
    "profiling_verbosity": ("profiling_verbosity", "ProfilingVerbosity"),
}
FLAGS = {
    "sparse_weights": "SPARSE_WEIGHTS",
    "version_compatible": "VERSION_COMPATIBLE",
    "refit": "REFIT",
    "strip_weights": "STRIP_PLAN",
    "weight_streaming": "WEIGHT_STREAMING",
    "gpu_fallback": "GPU_FALLBACK",
}


def apply_config(trt: ModuleType, builder: Builder, config: IBuilderConfig, options: EngineConfig) -> None:
    """Sets what differs from TensorRT's own choice on an `IBuilderConfig`.

    Raises:
        EngineError: The installed TensorRT lacks an option or does not take it; names both.
    """
    for name in options.differences():
        try:
            _apply(trt, builder, config, name, options)
        except EngineError as e:
            raise EngineError(f"`EngineConfig({name}={getattr(options, name)!r})` cannot be had: {e}.") from e


def _apply(
    trt: ModuleType, builder: Builder, config: IBuilderConfig, name: str, options: EngineConfig
) -> None:
    value = getattr(options, name)
    if name in ATTRIBUTES:
        _trt.set_option(trt, config, ATTRIBUTES[name], value)
    elif name in CHOICES:
        attribute, enum = CHOICES[name]
        _trt.set_option(trt, config, attribute, _trt.member(trt, enum, value.upper()))
    elif name in FLAGS:
        _trt.set_flag(trt, config, FLAGS[name], on=value)
    elif name == "tf32":
        _trt.set_flag(trt, config, "TF32", on=value)
    elif name == "workspace":
        config.set_memory_pool_limit(_trt.member(trt, "MemoryPoolType", "WORKSPACE"), value)
    elif name == "dla_core":
        _use_dla(trt, builder, config, value)


def _use_dla(trt: ModuleType, builder: Builder, config: IBuilderConfig, core: int) -> None:
    if core >= builder.num_DLA_cores:
        raise EngineError(f"this machine has {builder.num_DLA_cores} DLA cores")
    _trt.set_option(trt, config, "default_device_type", _trt.member(trt, "DeviceType", "DLA"))
    _trt.set_option(trt, config, "DLA_core", core)
