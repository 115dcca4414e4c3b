"""What users may ask of `precision`, and what a graph then carries."""

from __future__ import annotations

from collections.abc import Iterable

from keras_trt._base.formats import FLOATS, NARROW, float_type
from keras_trt.errors import InputError

_SPELLINGS = {name: word for word, stored in FLOATS.items() for name in (word, stored)} | {"fp32": "float32"}
_SCHEMES = ("fp8", "int8-weights", "int4-weights")
KNOWN = (None, *FLOATS, "int8", *(f"int8+{word}" for word in NARROW))


def resolve(precision: str | None, *, quantized: bool) -> str:
    """The precision that was asked for, in one word for each part.

    Args:
        precision: What the user asked for; None keeps what the model carries.
        quantized: Whether the model carries int8. It then stays, and a float type is for the rest.

    Returns:
        `"float32"`, `"fp16"`, `"bf16"`, `"int8"`, `"int8+fp16"` or `"int8+bf16"`.

    Raises:
        InputError: An unknown precision.

    Example:
        >>> resolve("fp16", quantized=True)
        'int8+fp16'
    """
    names = [] if precision is None else str(precision).lower().split("+")
    wants_int8 = "int8" in names
    floats = [name for name in names if name != "int8"]
    if len(names) > 2 or len(floats) > 1 or any(name not in _SPELLINGS for name in floats):
        known = ", ".join(map(repr, KNOWN))
        raise InputError(
            f"`precision` must be one of {known}. Received: precision={precision!r}."
            f"{_way_to(names, quantized)}"
        )
    rest = _SPELLINGS[floats[0]] if floats else "float32"
    if not (quantized or wants_int8):
        return rest
    return "int8" if rest == "float32" else f"int8+{rest}"


def _way_to(names: Iterable[str], quantized: bool) -> str:
    """How a format is had that the model carries or not, and that `precision` does not choose."""
    scheme = next((name for name in names if name in _SCHEMES), None)
    if scheme is None:
        return ""
    if quantized:
        return " A quantised model keeps its formats: `precision` is for its float part, or left out."
    return (
        f" {scheme!r} is a format of `quantize_model`: "
        f"`export(keras_trt.quantize_model(model, {scheme!r}, calibration_data=x), path)`."
    )


def carried(asked: str, schemes: Iterable[str]) -> str:
    """What a graph carries.

    Args:
        asked: The precision that was asked for, resolved.
        schemes: The schemes of the quantised layers, e.g. `"fp8"`.

    Example:
        >>> carried("int8+fp16", ["int8-weights", "int8-weights"])
        'int8-weights+fp16'
    """
    rest = float_type(asked)
    names = [*sorted(set(schemes)), *([] if rest == "float32" else [rest])]
    return "+".join(names) or "float32"
