"""Ops that count: buckets, places in a sorted row, and the bins of CategoryEncoding and the lookup layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, INT32, INT64, Nodes, replace
from keras_trt.convert.types import Graph, Node


def bucketize(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """The number of boundaries not above `x`."""
    x = node.input[0]
    boundaries = np.array(node.get_attr_value("boundaries"), np.float32)

    def build(add: Nodes) -> str:
        last = add.const([-1], np.int64)
        column = add("Unsqueeze", add("Cast", x, to=FLOAT), last)
        above = add("GreaterOrEqual", column, add.const(boundaries))
        return add("ReduceSum", add("Cast", above, to=INT32), last, keepdims=0, dtype=INT32)

    return replace(ctx, node, name, build)


def lower_bound(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`searchsorted(side="left")`: how many entries of a sorted row are below each value."""
    return _entries_before(ctx, node, name, "Less")


def upper_bound(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`searchsorted(side="right")`: how many entries of a sorted row are not above each value."""
    return _entries_before(ctx, node, name, "LessOrEqual")


def _entries_before(ctx: Graph, node: Node, name: str, comparison: str) -> Node | None:
    (entries, values), wanted = node.input, node.output_dtypes[0]

    def build(add: Nodes) -> str:
        row = add("Unsqueeze", entries, add.const([-2], np.int64))
        column = add("Unsqueeze", values, add.const([-1], np.int64))
        counted = add("Cast", add(comparison, row, column), to=INT32)
        return add.cast(add("ReduceSum", counted, add.const([-1], np.int64), keepdims=0, dtype=INT32), wanted)

    return replace(ctx, node, name, build)


def dense_bincount(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """How often each of a fixed number of values occurs in a row (or its weights' sum, or whether it does).

    Every entry is compared with every value, as there is no scattering with a sum in TensorRT.
    """
    x, weights, size = node.input[0], node.input[2], _fixed_size(node.inputs[1])
    if size is None:
        return
    weighted = not (node.inputs[2].is_const() and node.inputs[2].get_tensor_value(as_list=False).size == 0)
    binary = node.get_attr_value("binary_output")
    wanted = node.output_dtypes[0]

    def build(add: Nodes) -> str:
        last, bins = add.const([-1], np.int64), add.const(np.arange(size), np.int64)
        hits = add("Equal", add("Unsqueeze", add("Cast", x, to=INT64), last), bins)
        counts = add("Cast", hits, to=FLOAT)
        if weighted:
            counts = add("Mul", counts, add("Unsqueeze", add("Cast", weights, to=FLOAT), last))
        counts = add("ReduceSum", counts, add.const([-2], np.int64), keepdims=0)
        if binary:
            counts = add("Min", counts, add.const(1.0, np.float32))
        return add("Cast", counts, to=wanted)

    replace(ctx, node, name, build)


def _fixed_size(size: Any) -> int | None:
    """A constant, or what TensorFlow computes from equal `minlength` and `maxlength`."""
    if size.is_const():
        return int(size.get_tensor_value())
    highest = _constants(size, ("Minimum", "Min"))
    lowest = {n for other in size.inputs for n in _constants(other, ("Maximum", "Max"))}
    common = highest & lowest
    return common.pop() if len(common) == 1 else None


def _constants(node: Node, types: tuple[str, ...]) -> set[int]:
    if node.type not in types:
        return set()
    return {int(value.get_tensor_value()) for value in node.inputs if value.is_const()}
