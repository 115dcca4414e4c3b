"""Kinds of numbers that a network's inputs may hold, made up for a probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from keras_trt._base.tensors import TensorSpec

Draw = Callable[[TensorSpec, tuple[int, ...]], np.ndarray]
"""Makes an input's array, of a spec with a name and a dtype, in a shape."""

_NOISE = 4099
"""How many different numbers made-up inputs hold; repeated, they take little room in the bundle's probe."""

FLOATS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda rng: rng.standard_normal(_NOISE),
    "unit": lambda rng: rng.random(_NOISE),
    "bytes": lambda rng: rng.integers(0, 256, _NOISE).astype(float),
    "wide": lambda rng: 16 * rng.standard_normal(_NOISE),
}


def natural(floats: str, tables: Mapping[str, int]) -> Draw:
    """Inputs of the usual kinds.

    Args:
        floats: Which of `FLOATS`.
        tables: By input, the rows of the smallest table that its numbers look things up in.
    """

    def draw(info: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
        rng, dtype = np.random.default_rng(sum(shape)), np.dtype(info.dtype)
        if dtype.kind == "b":
            return np.resize(rng.random(_NOISE) < 0.5, shape)
        if not np.issubdtype(dtype, np.integer):
            return np.resize(FLOATS[floats](rng), shape)
        if info.name in tables:
            return np.resize(rng.integers(0, tables[info.name], _NOISE), shape)
        if dtype == np.uint8 or floats == "bytes":
            return np.resize(rng.integers(0, min(256, np.iinfo(dtype).max + 1), _NOISE), shape)
        return np.resize(_counts(rng, signed=dtype.kind == "i"), shape)

    return draw


def gentle(info: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
    """Floats about 1, integers of 1: nothing divides by zero, no logarithm of a negative number."""
    if info.dtype == "bool" or np.issubdtype(np.dtype(info.dtype), np.integer):
        return np.ones(shape)
    return np.resize(0.5 + np.random.default_rng(0).random(_NOISE), shape)


def whole(tables: Mapping[str, int]) -> Draw:
    """Floats that are ids: the functional model of an Embedding often has a float input."""

    def draw(info: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
        return np.resize(np.random.default_rng(0).integers(0, tables[info.name], _NOISE), shape)

    return draw


def _counts(rng: np.random.Generator, *, signed: bool) -> np.ndarray:
    """Integers of which nothing is known: small ones and larger ones up to 126, some of them negative."""
    counts = np.floor(2 ** (7 * rng.random(_NOISE))) - 1
    return np.where(rng.random(_NOISE) < 0.25, -counts, counts) if signed else counts
