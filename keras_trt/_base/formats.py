"""Number formats by name: of single tensors, of quantised values, and of a whole graph."""

from __future__ import annotations

from typing import Any

import numpy as np

ELEMENT_TYPES = {  # ONNX's numbers (TensorProto.DataType) and numpy's names, those of `ml_dtypes` included
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    19: "float8_e5m2",
}
TOP = {"int8": 127.0, "fp8": 448.0, "int4": 7.0}
"""The largest number of each quantised format; `scale = amax / TOP` (fp8 is E4M3)."""
INT8_ENDS = (-128, 127)
"""The smallest and largest int8 of activations; a grid of weights ends at -127."""
STORED = {"int8": "int8", "fp8": "float8_e4m3fn", "int4": "int4"}
"""The element type in which a quantised format is stored."""
GRID_TOLERANCE = 0.02
"""Largest distance from a grid of weights, in steps. Float32 rounding moves a weight by about 1e-5 steps."""
FLOATS = {"float32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""The element type of a graph's float part, by its word in `precision`."""
NARROW = {word: stored for word, stored in FLOATS.items() if word != "float32"}
"""Those of 16 bits."""


def dtype_of(name: str) -> np.dtype[Any]:
    """The numpy dtype of an element type's name, those of `ml_dtypes` included.

    Example:
        >>> dtype_of("float32")
        dtype('float32')
    """
    try:
        return np.dtype(name)
    except TypeError:  # numpy has no bfloat16 or float8 of its own
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return dtype


def widens(source: str, target: str) -> bool:
    """Whether an element type holds every number of another; False where either has no such name.

    Example:
        >>> widens("float16", "float32"), widens("int32", "float32")
        (True, False)
    """
    return bool(source and target) and bool(np.can_cast(dtype_of(source), dtype_of(target)))


FLOAT16_MAX = 65504.0
"""The largest number that float16 holds."""


def float_type(precision: str) -> str:
    """The float part of what a graph carries: `"float32"`, `"fp16"` or `"bf16"`.

    Example:
        >>> float_type("int8+fp16"), float_type("fp8")
        ('fp16', 'float32')
    """
    float_name = precision.rsplit("+", maxsplit=1)[-1]
    return float_name if float_name in FLOATS else "float32"


def is_quantized(precision: str) -> bool:
    """Whether a graph carries quantised numbers beside its float part.

    Example:
        >>> is_quantized("fp8+bf16"), is_quantized("fp16")
        (True, False)
    """
    return precision not in FLOATS


def rounds_in_bfloat16(precision: str) -> bool:
    """Whether a graph mixes quantised numbers with bfloat16, which CPUs compute in float32."""
    return is_quantized(precision) and float_type(precision) == "bf16"


def steps_to_largest(rows: np.ndarray, top: float) -> np.ndarray:
    """How many steps of its grid the largest magnitude of each row is.

    As a rule that is `top`. It is less where the largest weights are gone (masked), or where weights were
    rounded to fewer numbers; the row's scale is its largest magnitude divided by what this returns.

    Args:
        rows: Numbers, of the shape (rows, numbers).
        top: The largest integer of the format.

    Returns:
        Integers of the shape (rows,); 0 for a row that is on no such grid.

    Example:
        >>> steps_to_largest(np.array([[1.0, 2.0, -127], [0.5, 0.25, 0.75], [1, np.pi, 0.1]]), 127)
        array([127, 126,   0])
    """
    largest = np.abs(rows).max(axis=1, keepdims=True)
    shares = np.abs(rows) / np.where(largest > 0, largest, 1.0).astype(np.float64)
    whole, open_rows = np.zeros(len(rows), int), np.arange(len(rows))
    for steps in range(int(top), 0, -1):
        # Most rows are off most grids by any few of their numbers.
        near = open_rows[_are_whole(shares[open_rows, :64] * steps, steps / top)]
        hits = near[_are_whole(shares[near] * steps, steps / top)]
        whole[hits] = steps
        open_rows = open_rows[whole[open_rows] == 0]
    return whole


def _are_whole(rows: np.ndarray, share: float) -> np.ndarray:
    """Which rows are integers; the tolerance is of steps of the full grid."""
    is_whole: np.ndarray = (np.abs(rows - np.rint(rows)) <= GRID_TOLERANCE * share).all(axis=1)
    return is_whole
