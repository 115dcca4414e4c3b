"""Reads the quantised values of a weight back from floats that lie on a grid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_trt._base.formats import GRID_TOLERANCE, STORED, TOP, dtype_of, steps_to_largest
from keras_trt.errors import ExportError

DTYPES = {name: dtype_of(stored) for name, stored in STORED.items()}

_SLAB = 1 << 20  # numbers


class Format(NamedTuple):
    """How a weight is stored.

    Attributes:
        name: `"int8"`, `"fp8"` (E4M3) or `"int4"`.
        block: Consecutive input channels that share one scale; None for one scale per output channel.
    """

    name: str = "int8"
    block: int | None = None


def to_grid(
    weight: np.ndarray,
    axis: int,
    layer: str,
    number_format: Format = Format(),  # noqa: B008 - immutable
) -> tuple[np.ndarray, np.ndarray]:
    """Quantised values and scales of a weight that lies on a grid.

    Args:
        weight: Float32.
        axis: Of the output channels; with a block, of the input channels.
        layer: For the error.
        number_format: The format.

    Returns:
        The values, of the weight's shape, and float32 scales > 0: one per output channel, or for blocks of
        the weight's shape with `axis` divided by the block. Where all weights of a scale are zero it is the
        smallest of the others (TensorRT refuses a scale of 0).

    Raises:
        ExportError: The weight is not on the grid.
    """
    blocks, reduced = _in_blocks(weight, axis, number_format.block)
    largest = np.maximum(blocks.max(axis=reduced, keepdims=True), -blocks.min(axis=reduced, keepdims=True))
    scales = largest.astype(np.float64) / TOP[number_format.name]
    alive = scales > 0
    scales[~alive] = scales[alive].min() if alive.any() else 1 / TOP[number_format.name]
    values, distance = _rounded(blocks, scales, number_format.name)
    if not distance <= GRID_TOLERANCE and number_format.name != "fp8":
        scales *= TOP[number_format.name] / _steps(blocks, reduced, number_format.name)
        values, distance = _rounded(blocks, scales, number_format.name)
    if not distance <= GRID_TOLERANCE:
        raise ExportError(
            f"The weights of layer {layer!r} are not on an {number_format.name} grid (up to {distance:.2g} "
            f"steps away), so writing them as {number_format.name} would change the model. This happens when "
            "a custom layer changes its quantised kernel before using it. Leave the layer float: "
            f"quantize_model(model, skip=[{layer!r}])."
        )
    shape = scales.squeeze(reduced).shape
    return values.reshape(weight.shape), scales.reshape(shape).astype(np.float32)


def _rounded(blocks: np.ndarray, scales: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """The values at some scales, and how far the weights are from them at most, in steps."""
    values, distance = np.empty(blocks.shape, DTYPES[name]), 0.0
    spread = np.broadcast_to(scales, blocks.shape)
    for rows in _slabs(blocks):
        steps = blocks[rows] / spread[rows]
        rounded = steps.astype(DTYPES["fp8"]) if name == "fp8" else np.rint(steps)
        # E4M3 has 3 bits of mantissa.
        step = np.maximum(np.abs(steps) / 8, 2**-9) if name == "fp8" else 1.0
        distance = max(distance, float((np.abs(steps - rounded.astype(np.float64)) / step).max()))
        values[rows] = rounded.astype(DTYPES[name])
    return values, distance


def _steps(blocks: np.ndarray, reduced: tuple[int, ...], name: str) -> np.ndarray:
    """How many steps the largest weight of each scale is, in the scales' shape; the top where on no grid."""
    scaled = [axis for axis in range(blocks.ndim) if axis not in reduced]
    rows = np.moveaxis(blocks, scaled, range(len(scaled)))
    shape = [1 if axis in reduced else size for axis, size in enumerate(blocks.shape)]
    steps = steps_to_largest(rows.reshape(int(np.prod(rows.shape[: len(scaled)])), -1), TOP[name])
    return np.where(steps, steps, TOP[name]).reshape(shape)


def _slabs(blocks: np.ndarray) -> Iterator[slice]:
    """Parts of the first axis, so that the work in float64 on a large weight takes little memory."""
    rows = max(1, _SLAB * len(blocks) // blocks.size)
    return (slice(start, start + rows) for start in range(0, len(blocks), rows))


def _in_blocks(weight: np.ndarray, axis: int, block: int | None) -> tuple[np.ndarray, tuple[int, ...]]:
    """The weight cut so that one scale covers the returned axes."""
    if block is None:
        return weight, tuple(i for i in range(weight.ndim) if i != axis)
    shape = weight.shape
    cut = weight.reshape(*shape[:axis], shape[axis] // block, block, *shape[axis + 1 :])
    return cut, (axis + 1,)
