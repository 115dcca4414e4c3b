"""Diagonals of matrices; tf2onnx makes a loop of them that does not pass ONNX's own checker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import BOOL, INT64, Nodes, replace
from keras_trt.convert.tf2onnx_seam import numpy_type
from keras_trt.convert.types import Graph, Node


def diagonal(add: Nodes, x: str, axes: tuple[int, int], offset: int = 0) -> str:
    """The entries of `x` at the places (i, i + offset) of two axes, of which the later goes."""
    shape, dtype = add.ctx.get_shape(x), add.ctx.get_dtype(x)
    masked = add("Where", _mask(add, x, axes, offset), x, zero(add, x), dtype=dtype)
    add.ctx.set_shape(masked, shape)
    summed = add("ReduceSum", masked, add.const([axes[1]], np.int64), keepdims=0, dtype=dtype)
    add.ctx.set_shape(summed, [n for i, n in enumerate(shape) if i != axes[1]])
    return summed


def size_of(add: Nodes, x: str, axis: int) -> str:
    """The size of an axis, as a tensor of one number."""
    return add("Gather", add("Shape", x), add.const([axis], np.int64), dtype=INT64)


def _mask(add: Nodes, x: str, axes: tuple[int, int], offset: int) -> str:
    """Where the diagonal lies; broadcast to the tensor's shape."""
    shape = add.ctx.get_shape(x)
    rows, columns = (shape[axis] for axis in axes)
    if min(rows, columns) > 0:
        sizes = [n if i in axes else 1 for i, n in enumerate(shape)]
        return add.const(np.eye(rows, columns, offset, bool).reshape(sizes))
    places = []
    for axis, first in zip(axes, (offset, 0), strict=True):
        last = add("Squeeze", size_of(add, x, axis), dtype=INT64)
        counted = add("Range", add.const(0, np.int64), last, add.const(1, np.int64), dtype=INT64)
        moved = add("Add", counted, add.const(first, np.int64), dtype=INT64)
        others = [i for i in range(len(shape)) if i != axis]
        places.append(add("Unsqueeze", moved, add.const(others, np.int64), dtype=INT64))
    return add("Equal", *places, dtype=BOOL)


def zero(add: Nodes, like: str) -> str:
    """A zero of the type of a tensor."""
    return add.const(0, numpy_type(add.ctx.get_dtype(like)))


def diagonal_part(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """`MatrixDiagPart` of one diagonal."""
    x, offset, rank = node.input[0], _single(node.inputs[1:2]), ctx.get_rank(node.input[0])
    if rank is None or offset is None:
        return

    def build(add: Nodes) -> str:
        column = diagonal(add, x, (rank - 2, rank - 1), offset)
        rows, columns = ctx.get_shape(x)[-2:]
        if offset == 0 and rows == columns > 0:
            return column
        starts = add.const([max(-offset, 0)], np.int64)  # it ends where its row or its column would
        behind = add("Add", size_of(add, x, rank - 1), add.const([-offset], np.int64), dtype=INT64)
        ends = add("Min", size_of(add, x, rank - 2), behind, dtype=INT64)
        return add("Slice", column, starts, ends, add.const([-1], np.int64), dtype=ctx.get_dtype(x))

    replace(ctx, node, name, build)


def diagonal_matrix(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """`MatrixDiag`: square matrices with their main diagonal given and zeros around it."""
    shape = ctx.get_shape(node.input[0])
    size = shape[-1] if shape else -1
    rest = [_single([value]) for value in node.inputs[2:5]]
    square = rest[:2] in ([], [-1, -1], [size, size]) and not any(rest[2:])
    if size < 1 or _single(node.inputs[1:2]) != 0 or not square:
        return
    x, dtype = node.input[0], ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        column = add("Unsqueeze", x, add.const([-1], np.int64), dtype=dtype)
        return add("Where", add.const(np.eye(size, dtype=bool)), column, zero(add, x), dtype=dtype)

    replace(ctx, node, name, build)


def set_diagonal(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """`MatrixSetDiag` of the main diagonal of matrices that are not higher than wide."""
    x, rank = node.input[0], ctx.get_rank(node.input[0])
    if rank is None or _single(node.inputs[2:3]) != 0:
        return
    rows, columns = ctx.get_shape(x)[-2:]
    if rows > columns > 0:
        return

    def build(add: Nodes) -> str:
        dtype = ctx.get_dtype(x)
        column = add("Unsqueeze", node.input[1], add.const([-1], np.int64), dtype=dtype)
        return add("Where", _mask(add, x, (rank - 2, rank - 1), 0), column, x, dtype=dtype)

    replace(ctx, node, name, build)


def _single(given: Sequence[Any]) -> Any:
    """The one number that an input holds; 0 without an input, None where it holds several or is computed."""
    if not given:
        return 0
    if not given[0].is_const():
        return None
    numbers = np.unique(given[0].get_tensor_value(as_list=False))
    return numbers[0].item() if numbers.size == 1 else None
