"""Fourier transforms as matrix products with cosines and sines; TensorRT has none."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, INT64, Nodes
from keras_trt.convert.types import Graph, Node

Complex = tuple[str, str | None]
"""The real and the imaginary part; None where that is zero."""

TRANSFORMS = {"FFT": (1, False), "FFT2D": (2, False), "IFFT": (1, True), "IFFT2D": (2, True)}
"""By operator over how many of the last axes it goes, and whether it is the inverse."""


def along(add: Nodes, pair: Complex, axis: int, inverse: bool) -> Complex:
    """The transform along one of the last two axes, of fixed or open length."""
    real = pair[0]
    shape = add.ctx.get_shape(real)
    length = shape[axis] if shape else -1
    if length > 0:
        angles = _angles(length, length, length)
        cosines, sines = (add.const(f(angles), np.float32) for f in (np.cos, np.sin))
    else:
        cosines, sines, length = _open_matrices(add, real, axis)
    sines = sines if inverse else add("Neg", sines)
    both = turned(add, pair, cosines, sines, left=axis == -2)
    if not inverse:
        return both
    count = add.const(length, np.float32) if isinstance(length, int) else length
    return tuple(add("Div", tensor, count) for tensor in both if tensor is not None)  # type: ignore[return-value]


def _open_matrices(add: Nodes, x: str, axis: int) -> tuple[str, str, str]:
    """Cosines and sines for an axis whose length the engine sees, and that length as a float."""
    length = add("Gather", add("Shape", x), add.const(axis, np.int64), axis=0, dtype=INT64)
    count = add("Range", add.const(0, np.int64), length, add.const(1, np.int64), dtype=INT64)
    column, row = (add("Unsqueeze", count, add.const([i], np.int64)) for i in (1, 0))
    # The remainder is taken of integers: a float would lose the digits that the angle needs.
    turns = add("Mod", add("Mul", column, row), length)
    size = add.cast(length, FLOAT)
    angles = add("Mul", add("Div", add.cast(turns, FLOAT), size), add.const(2 * np.pi, np.float32))
    return add("Cos", angles), add("Sin", angles), size


def turned(add: Nodes, pair: Complex, cosines: str, sines: str, left: bool = False) -> Complex:
    """The parts of `x @ (cosines + i * sines)`, or with the matrix on the left."""

    def product(tensor: str, matrix: str) -> str:
        return add("MatMul", matrix, tensor) if left else add("MatMul", tensor, matrix)

    real, imaginary = pair
    if imaginary is None:
        return product(real, cosines), product(real, sines)
    return (
        add("Sub", product(real, cosines), product(imaginary, sines)),
        add("Add", product(real, sines), product(imaginary, cosines)),
    )


def _angles(rows: int, columns: int, length: int) -> np.ndarray:
    return 2 * np.pi / length * (np.outer(np.arange(rows), np.arange(columns)) % length)


def _length(ctx: Graph, node: Node, x: str) -> tuple[int, int] | None:
    """How long the last axis of `x` is and the length of the transform, where both are fixed."""
    shape, length = ctx.get_shape(x), node.inputs[1]
    if not shape or shape[-1] < 1 or not length.is_const():
        return None
    return shape[-1], int(np.ravel(length.get_tensor_value(as_list=False))[0])


def halves(ctx: Graph, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
    """For `RFFT`: the samples are cut or filled up with zeros to the length."""
    sizes = _length(ctx, node, node.input[0])
    if sizes is None:
        return None
    given, length = sizes
    angles, inside = _angles(given, length // 2 + 1, length), (np.arange(given) < length)[:, None]
    return (np.cos(angles) * inside).astype(np.float32), (-np.sin(angles) * inside).astype(np.float32)


def backwards(ctx: Graph, node: Node, real: str) -> tuple[np.ndarray, np.ndarray] | None:
    """For `IRFFT`: each frequency stands for itself and its mirror image, but the first and middle one."""
    sizes = _length(ctx, node, real)
    if sizes is None:
        return None
    given, length = sizes
    frequencies = np.arange(given)
    weights = np.where((frequencies == 0) | (2 * frequencies == length), 1.0, 2.0) / length
    weights = (weights * (2 * frequencies <= length))[:, None]
    angles = _angles(given, length, length)
    return (np.cos(angles) * weights).astype(np.float32), (np.sin(angles) * weights).astype(np.float32)
