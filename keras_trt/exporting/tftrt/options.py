"""What TF-TRT can be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from keras_trt.errors import InputError

_PROFILES = ("Range", "Optimal", "Range+Optimal")
_MODES = {"float32": "FP32", "fp16": "FP16", "int8": "INT8", "int8+fp16": "INT8"}


@dataclass(frozen=True)
class TFTRTOptions:
    """What TF-TRT can be told; `export(..., route=TFTRTOptions(...))`. The precision is export's own.

    Attributes:
        minimum_segment_size: Fewest TensorFlow ops that are worth an engine.
        max_workspace_size_bytes: GPU memory that one engine may use for scratch.
        use_dynamic_shape: One engine for a range of shapes; else one for each shape.
        profile_strategy: `"Range"`, `"Optimal"` or `"Range+Optimal"`: what dynamic engines are tuned for.
        maximum_cached_engines: How many engines one part of the model may hold.
        input_fn: Makes the representative inputs that engines are built with: a function without arguments
            that gives dicts of arrays by input name. None: one probe for each size in export's `batch`.

    Example:
        >>> keras_trt.export(model, "saved_model", route=keras_trt.TFTRTOptions(use_dynamic_shape=False))
    """

    minimum_segment_size: int = 3
    max_workspace_size_bytes: int = 1 << 30
    use_dynamic_shape: bool = True
    profile_strategy: str = "Range"
    maximum_cached_engines: int = 16
    input_fn: Callable[[], Iterable[dict[str, Any]]] | None = None

    def __post_init__(self) -> None:
        for name in ("minimum_segment_size", "max_workspace_size_bytes", "maximum_cached_engines"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"`{name}` must be a whole number >= 1. Received: {name}={value!r}")
        if self.profile_strategy not in _PROFILES:
            raise InputError(
                f"`profile_strategy` must be one of {list(_PROFILES)}. "
                f"Received: profile_strategy={self.profile_strategy!r}"
            )
        if self.input_fn is not None and not callable(self.input_fn):
            raise InputError(
                "`input_fn` must be a function that gives dicts of arrays by input name. "
                f"Received: input_fn={self.input_fn!r}"
            )


def options_of(route: object) -> TFTRTOptions | None:
    """What export's `route` says; None for `"onnx"`.

    Raises:
        InputError: Another route.
    """
    if isinstance(route, TFTRTOptions):
        return route
    if route not in ("onnx", "tf-trt"):
        raise InputError(
            f"`route` must be one of ['onnx', 'tf-trt'] or a TFTRTOptions. Received: route={route!r}"
        )
    return TFTRTOptions() if route == "tf-trt" else None


def precision_mode(precision: str) -> str:
    """TF-TRT's word for a resolved precision.

    Raises:
        InputError: TF-TRT does not know it.
    """
    if precision not in _MODES:
        raise InputError(
            f"TF-TRT knows the precisions {list(_MODES)}. Received: precision={precision!r}. "
            'For bfloat16 use route="onnx".'
        )
    return _MODES[precision]
