"""Schemes: the number formats that the weights and activations of a quantised layer take.

A scheme is a frozen dataclass; a name stands for the scheme with its default options:

    quantize_model(model, "int8")
    quantize_model(model, Int8(learned_ranges=True))
    quantize_model(model, Int4Weights(block=128))
    quantize_model(model, {"head": "fp8", ".*": "int8"})    # the first choice that matches a layer counts
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keras_trt.errors import InputError

BLOCKS = (32, 64, 128)
"""Blocks that users choose from. A layer whose inputs divide into no such blocks gets smaller ones."""
_SMALLEST = 8


@dataclass(frozen=True)
class Scheme:
    """The formats of one layer, or of a whole model.

    Attributes:
        weights: `"int8"`, `"fp8"` (E4M3) or `"int4"`.
        activations: `"int8"`, `"fp8"`, or None to leave them float.
        block: Consecutive input channels that share one weight scale; None for one scale per output channel.
        learned_ranges: Whether activation ranges are trained by gradient instead of following the batches.
        momentum: Weight of the old range in the moving average that ranges follow in training.

    Raises:
        InputError: Formats that do not go together, or a number out of range.

    Example:
        >>> scheme = keras_trt.schemes.Scheme(weights="int8", activations=None)
        >>> quantized = keras_trt.quantize_model(model, scheme)
    """

    weights: str = "int8"
    activations: str | None = "int8"
    block: int | None = None
    learned_ranges: bool = False
    momentum: float = 0.99

    def __post_init__(self) -> None:
        if (self.weights, self.activations) not in _NAMES:
            raise InputError(
                f"Weights and activations go together as one of {sorted(map(str, _NAMES))}. "
                f"Received: weights={self.weights!r}, activations={self.activations!r}"
            )
        blocks = (*BLOCKS, *range(_SMALLEST, max(BLOCKS), 2))
        if (self.block is not None) != (self.weights == "int4") or self.block not in (None, *blocks):
            raise InputError(
                f"int4 weights take a block of {', '.join(map(str, BLOCKS))}, or an even number from "
                f"{_SMALLEST} on; others none. Received: weights={self.weights!r}, block={self.block}"
            )
        if not 0 <= self.momentum < 1:
            raise InputError(f"`momentum` lies in [0, 1). Received: momentum={self.momentum}")

    @property
    def name(self) -> str:
        """What users call it."""
        return _NAMES[self.weights, self.activations]


_NAMES = {
    ("int8", "int8"): "int8",
    ("int8", None): "int8-weights",
    ("fp8", "fp8"): "fp8",
    ("int4", None): "int4-weights",
}


def Int8(*, learned_ranges: bool = False, momentum: float = 0.99) -> Scheme:
    """Weights and activations in int8: the scheme with the widest hardware support.

    Args:
        learned_ranges: Activation ranges are trained by gradient instead of following the batches.
        momentum: How slowly ranges follow the batches in training, in [0, 1).

    Returns:
        The scheme, for `quantize_model`.

    Example:
        >>> scheme = keras_trt.schemes.Int8(learned_ranges=True)
        >>> quantized = keras_trt.quantize_model(model, scheme, calibration_data=x)
    """
    return Scheme(learned_ranges=learned_ranges, momentum=momentum)


def Int8Weights() -> Scheme:
    """Weights in int8, activations float: a smaller file, no calibration.

    Returns:
        The scheme, for `quantize_model`.

    Example:
        >>> quantized = keras_trt.quantize_model(model, keras_trt.schemes.Int8Weights())
    """
    return Scheme(activations=None)


def FP8(*, learned_ranges: bool = False, momentum: float = 0.99) -> Scheme:
    """Weights and activations in E4M3: for Ada, Hopper and newer GPUs.

    Args:
        learned_ranges: As in `Int8`.
        momentum: As in `Int8`.

    Returns:
        The scheme, for `quantize_model`.

    Example:
        >>> schemes = {"head": keras_trt.schemes.FP8(), ".*": "int8"}  # the first that matches a layer
        >>> quantized = keras_trt.quantize_model(model, schemes, calibration_data=x)
    """
    return Scheme("fp8", "fp8", learned_ranges=learned_ranges, momentum=momentum)


def Int4Weights(block: int = 32) -> Scheme:
    """Weights of dense layers in int4 with one scale per block of input channels, activations float.

    Args:
        block: The largest even number of input channels that share a scale.

    Returns:
        The scheme, for `quantize_model`.

    Example:
        >>> quantized = keras_trt.quantize_model(model, keras_trt.schemes.Int4Weights(block=64))
    """
    return Scheme("int4", None, block=block)


def fitting(scheme: Scheme, widths: Sequence[int]) -> Scheme | None:
    """The scheme with the largest block, up to its own, that divides these numbers of inputs; None for none.

    TensorRT's parser takes whole blocks only, of any size. OpenVINO 2026.1 computes odd ones wrongly.
    """
    if scheme.block is None:
        return scheme
    width = math.gcd(*widths)
    even = (
        block for block in range(scheme.block, _SMALLEST - 1, -1) if block % 2 == 0 and width % block == 0
    )
    block = next(even, None)
    return None if block is None else replace(scheme, block=block)


SCHEMES = {"int8": Int8(), "int8-weights": Int8Weights(), "fp8": FP8(), "int4-weights": Int4Weights()}


def scheme_named(scheme: object) -> Scheme:
    """The scheme a name stands for; a `Scheme` is returned as it is.

    Raises:
        InputError: An unknown name.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if isinstance(scheme, str) and scheme in SCHEMES:
        return SCHEMES[scheme]
    raise InputError(f"`scheme` must be one of {sorted(SCHEMES)} or a Scheme. Received: scheme={scheme!r}")


def schemes_by_choice(scheme: object) -> list[tuple[Any, Scheme]]:
    """(choice of layers, scheme) pairs; one scheme for all layers is the choice None.

    Raises:
        InputError: An unknown name, or an empty mapping.
    """
    if not isinstance(scheme, Mapping):
        return [(None, scheme_named(scheme))]
    if not scheme:
        raise InputError("`scheme` maps layers to schemes. Received: an empty mapping.")
    return [(choice, scheme_named(value)) for choice, value in scheme.items()]
