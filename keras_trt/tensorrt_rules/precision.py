"""What users may ask of `precision`, and what it comes to for a given model."""

from __future__ import annotations

from typing import Any

from keras_trt.errors import InputError

_FLOATS = {"fp32": "float32", "float32": "float32", "fp16": "fp16", "float16": "fp16", "bf16": "bf16"}
_FLOATS["bfloat16"] = "bf16"
KNOWN = (None, "float32", "fp16", "bf16", "int8", "int8+fp16", "int8+bf16")


def resolve(precision: Any, *, quantized: bool) -> str:
    """The precision a graph shall carry.

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
    parts = [] if precision is None else str(precision).lower().split("+")
    wants_int8 = "int8" in parts
    floats = [part for part in parts if part != "int8"]
    if len(parts) > 2 or len(floats) > 1 or any(part not in _FLOATS for part in floats):
        known = ", ".join(map(repr, KNOWN))
        raise InputError(f"`precision` must be one of {known}. Received: precision={precision!r}")
    rest = _FLOATS[floats[0]] if floats else "float32"
    if not (quantized or wants_int8):
        return rest
    return "int8" if rest == "float32" else f"int8+{rest}"


def is_int8(precision: str) -> bool:
    """Whether a resolved precision computes in int8."""
    return precision.startswith("int8")


def float_type(precision: str) -> str:
    """The float type of a resolved precision: `"float32"`, `"fp16"` or `"bf16"`."""
    part = precision.rsplit("+", maxsplit=1)[-1]
    return "float32" if part == "int8" else part
