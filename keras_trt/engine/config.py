"""How an engine is built beyond what the ONNX graph says, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from keras_trt._base.arguments import check_boolean, wrong_argument
from keras_trt.engine import _options as options
from keras_trt.errors import InputError

TILINGS = ("none", "fast", "moderate", "full")
HARDWARE = ("same_compute_capability", "ampere_plus")
VERBOSITIES = ("none", "layer_names_only", "detailed")

_SWITCHES = ("tf32", "version_compatible", "refit", "strip_weights", "weight_streaming", "gpu_fallback")
_MACHINES_OWN = ("timing_cache", "compute_capabilities")  # not written into a plan's stamp


@dataclass(frozen=True)
class EngineConfig:
    """Options of TensorRT's builder. None leaves a choice to TensorRT.

    The precision is none of them: it is in the graph. docs/building.md says which TensorRT has which option,
    and what of it was tried; an option that the installed one lacks or does not take is an `EngineError`.

    Attributes:
        profiles: Ranges of sizes to optimise for, one dict a profile: an axis (`"batch"` among them) or an
            input by its name, with a size or (min, opt, max). What one leaves out has the bundle's sizes.
            None: one profile with the bundle's sizes.
        workspace: Bytes of GPU memory that kernels may use as scratch space.
        optimization_level: 0 to 5; higher tries more kernels and takes longer. TensorRT's default is 3.
        tiling: How hard to look for kernels that keep data in the cache between layers: `"none"`, `"fast"`,
            `"moderate"`, `"full"`.
        aux_streams: Most streams beside the main one that parts of the network may run on; 0 forbids them.
        timing_cache: Keep measured kernel times between builds, a file per GPU and version: True in the plan
            cache's folder, a path in a folder of your own. TensorRT-RTX, which measures none, ignores it.
        sparse_weights: Let TensorRT use 2:4 sparse kernels. None: where the bundle has 2:4 weights.
        tf32: Let float32 products round their operands to TF32, as TensorRT does by default.
        version_compatible: Let later versions and the lean runtime run the plan. It then carries code.
        hardware_compatibility: `"ampere_plus"`: the plan runs on Ampere and newer, perhaps slower;
            `"same_compute_capability"`: on all GPUs of this class. None: on this GPU.
        refit: Let weights be exchanged in the plan later. Allows one profile only.
        strip_weights: Leave the weights out of the plan; `load` puts them back from the ONNX file.
        weight_streaming: Let weights stay in host memory and be copied while the engine runs.
        dla_core: Run on this core of a Jetson's deep learning accelerator. Takes fixed sizes only.
        gpu_fallback: With `dla_core`: run what the accelerator cannot on the GPU.
        profiling_verbosity: What an inspector can later tell of the layers: `"none"`, `"layer_names_only"`,
            `"detailed"`.
        compute_capabilities: GPU classes that TensorRT-RTX builds for, e.g. `("SM86", "SM89")`. None: this
            machine's GPU if RTX knows it, else SM86, SM89 and SM120.

    Raises:
        InputError: An option is wrong, or two contradict each other; names them.

    Example:
        >>> profiles = [{"batch": 1}, {"batch": (2, 16, 64)}]
        >>> keras_trt.EngineConfig(profiles=profiles, optimization_level=5).differences()
        {'profiles': [{'batch': 1}, {'batch': [2, 16, 64]}], 'optimization_level': 5}
    """

    profiles: Sequence[Mapping[str, Any]] | None = None
    workspace: int | None = None
    optimization_level: int | None = None
    tiling: str | None = None
    aux_streams: int | None = None
    timing_cache: bool | str | Path = False
    sparse_weights: bool | None = None
    tf32: bool = True
    version_compatible: bool = False
    hardware_compatibility: str | None = None
    refit: bool = False
    strip_weights: bool = False
    weight_streaming: bool = False
    dla_core: int | None = None
    gpu_fallback: bool = False
    profiling_verbosity: str | None = None
    compute_capabilities: Sequence[str] | None = None

    def __post_init__(self) -> None:
        settle: dict[str, Any] = {
            "profiles": options.profiles(self.profiles),
            "workspace": options.whole(self.workspace, "workspace", 1, what=" of bytes"),
            "optimization_level": options.whole(self.optimization_level, "optimization_level", 0, 5),
            "tiling": options.choice(self.tiling, TILINGS, "tiling"),
            "aux_streams": options.whole(self.aux_streams, "aux_streams", 0),
            "timing_cache": options.timing_cache(self.timing_cache),
            "hardware_compatibility": options.choice(
                self.hardware_compatibility, HARDWARE, "hardware_compatibility"
            ),
            "dla_core": options.whole(self.dla_core, "dla_core", 0),
            "profiling_verbosity": options.choice(
                self.profiling_verbosity, VERBOSITIES, "profiling_verbosity"
            ),
            "compute_capabilities": options.capabilities(self.compute_capabilities),
            **{name: check_boolean(getattr(self, name), name) for name in _SWITCHES},
        }
        if self.sparse_weights is not None:
            settle["sparse_weights"] = check_boolean(self.sparse_weights, "sparse_weights")
        for name, value in settle.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen for others
        _check_together(self)

    def __hash__(self) -> int:
        return hash(str(self.differences()))  # profiles are dicts, which have no hash of their own

    def differences(self) -> dict[str, Any]:
        """The options that are not the default, JSON-ready."""
        changed = (
            (f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default
        )
        return {name: options.plain(value) for name, value in changed}

    def stamped(self) -> dict[str, Any]:
        """`differences()` without what says nothing of the plan itself or names a place on this machine."""
        return {name: value for name, value in self.differences().items() if name not in _MACHINES_OWN}

    def with_targets(self, compute_capabilities: Sequence[str] | None) -> EngineConfig:
        """The same for other GPU classes."""
        return replace(self, compute_capabilities=compute_capabilities)


def config_of(stamped: Mapping[str, Any]) -> EngineConfig:
    """The config that a plan's stamp holds.

    Raises:
        InputError: An option that this version does not know, or a wrong value.
    """
    known = [f.name for f in fields(EngineConfig)]
    unknown = sorted(set(stamped) - set(known))
    if unknown:
        raise InputError(f"The plan was built with options that this version does not know: {unknown}")
    return EngineConfig(**stamped)


def check_config(value: object, name: str = "config") -> EngineConfig:
    """An `EngineConfig`.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(value, EngineConfig):
        raise wrong_argument(name, "a keras_trt.EngineConfig", value)
    return value


def _check_together(config: EngineConfig) -> None:
    if config.gpu_fallback and config.dla_core is None:
        raise InputError(
            "`gpu_fallback` is for networks on a DLA core. Received: gpu_fallback=True, dla_core=None"
        )
    for name in ("refit", "strip_weights"):
        if getattr(config, name) and len(config.profiles or ()) > 1:
            raise InputError(
                f"`profiles`: a plan whose weights can be put in later has one profile only. "
                f"Received: {name}=True with {len(config.profiles or ())} profiles"
            )
