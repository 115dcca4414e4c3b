"""Slices that begin where the data says, as in a cache of keys and values.

TensorRT slices and pads by shapes, not by what it computes, and an input that it must know as a shape cannot
stay on the GPU: so elements are looked up, and chosen by their places.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import BOOL, INT64, Nodes, replace
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def dynamic_update_slice(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`ops.slice_update`: the update where it lies, and the tensor elsewhere."""
    x, update, indices = node.input
    sizes, lengths = ctx.get_shape(x) or [], ctx.get_shape(update) or []
    dtype, rank = ctx.get_dtype(x), ctx.get_rank(x)

    def build(add: Nodes) -> str:
        starts = add.cast(indices, INT64)
        spread, inside = update, None
        for axis in range(rank):
            if sizes and lengths and sizes[axis] == lengths[axis] >= 0:
                continue  # it can only begin at 0
            size, length = _size(add, x, axis), _size(add, update, axis)
            start = add("Max", _entry(add, starts, axis), add.const([0], np.int64), dtype=INT64)
            start = add("Min", start, add("Sub", size, length, dtype=INT64), dtype=INT64)  # as XLA does
            places = add("Sub", _count(add, size), start, dtype=INT64)
            if not (lengths and lengths[axis] == 1):
                last = add("Sub", length, add.const([1], np.int64), dtype=INT64)
                within = add("Max", places, add.const([0], np.int64), dtype=INT64)
                within = add("Min", within, last, dtype=INT64)
                spread = add("Gather", spread, within, axis=axis, dtype=dtype)
            begun = add("Not", add("Less", places, add.const([0], np.int64), dtype=BOOL), dtype=BOOL)
            here = add("And", begun, add("Less", places, length, dtype=BOOL), dtype=BOOL)
            here = add("Reshape", here, add.const([-1] + [1] * (rank - 1 - axis), np.int64), dtype=BOOL)
            inside = here if inside is None else add("And", inside, here, dtype=BOOL)
        if inside is None:
            return update
        return add("Where", inside, spread, x, dtype=dtype)

    return replace(ctx, node, name, build)


def sliced(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`tf.slice`: tf2onnx's own conversion, or a lookup where the data says where a known length begins."""
    x, begin, size = node.input
    known, sizes = node.inputs[2].is_const(), ctx.get_shape(x) or [-1] * ctx.get_rank(x)
    lengths = node.inputs[2].get_tensor_value() if known else [None] * len(sizes)
    if -1 in lengths or not _is_computed(node.inputs[1]):
        stock("Slice", ctx, node)
        return node
    dtype = ctx.get_dtype(x)

    def build(add: Nodes) -> str:
        starts, result = add.cast(begin, INT64), x
        asked = add.cast(size, INT64)
        for axis, length in enumerate(lengths):
            if length == sizes[axis]:
                continue  # it can only begin at 0
            count = _count(add, _entry(add, asked, axis))
            places = add("Add", _entry(add, starts, axis), count, dtype=INT64)
            result = add("Gather", result, places, axis=axis, dtype=dtype)
        return result

    return replace(ctx, node, name, build)


def _is_computed(node: Node) -> bool:
    """Whether numbers come from a graph's inputs, not from their shapes only."""
    return any(source.type != "Const" for source in _sources(node))


def _sources(node: Node) -> Iterator[Any]:
    """The nodes without inputs that a node is made of, shapes apart."""
    seen, todo = set(), [node]
    while todo:
        current = todo.pop()
        if current is None or current.name in seen or current.type in ("Shape", "Size", "Rank"):
            continue
        seen.add(current.name)
        if not current.inputs:
            yield current
        todo += current.inputs


def _size(add: Nodes, value: str, axis: int) -> str:
    """The size of one axis, as a tensor of one number."""
    shape = add.ctx.get_shape(value)
    if shape and shape[axis] >= 0:
        return add.const([shape[axis]], np.int64)
    return _entry(add, add("Shape", value, dtype=INT64), axis)


def _entry(add: Nodes, vector: str, index: int) -> str:
    return add("Gather", vector, add.const([index], np.int64), axis=0, dtype=INT64)


def _count(add: Nodes, size: str) -> str:
    """0, 1, 2, ... up to the size."""
    end = add("Squeeze", size, add.const([0], np.int64), dtype=INT64)
    return add("Range", add.const(0, np.int64), end, add.const(1, np.int64), dtype=INT64)
