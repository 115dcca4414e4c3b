"""Sums and the like over segments of rows: messages of a graph's edges at its nodes.

Which rows are of which segment is nearly always constant. tf2onnx looks it up at run time, by operators
(Unique) that TensorRT lacks and OpenVINO does not load; here it is a constant table, one line a segment.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from onnx.helper import tensor_dtype_to_np_dtype

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def unsorted_segments(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`tf.math.unsorted_segment_sum` and the like; tf2onnx's own where the data says which rows."""
    data = node.input[0]
    known = node.inputs[1].is_const() and node.inputs[2].is_const()
    if not known or ctx.get_rank(data) is None or ctx.get_rank(node.input[1]) != 1:
        stock("UnsortedSegmentSum", ctx, node)
        return node
    kind = node.type.removeprefix("UnsortedSegment")
    segments = np.asarray(node.inputs[1].get_tensor_value(as_list=False))
    table = places(segments, int(node.inputs[2].get_tensor_value()))
    dtype, rank = ctx.get_dtype(data), ctx.get_rank(data)

    def build(add: Nodes) -> str:
        rows = data
        if (table == len(segments)).any():
            behind = add.const([0] * rank + [1] + [0] * (rank - 1), np.int64)
            rows = add("Pad", data, behind, add.const(_neutral(kind, dtype)), dtype=dtype)
        rows = add("Gather", rows, add.const(table), axis=0, dtype=dtype)
        if kind != "Sum" and ctx.opset < 18:
            return add(f"Reduce{kind}", rows, axes=[1], keepdims=0, dtype=dtype)
        return add(f"Reduce{kind}", rows, add.const([1], np.int64), keepdims=0, dtype=dtype)

    return replace(ctx, node, name, build)


def places(segments: np.ndarray, count: int) -> np.ndarray:
    """The rows of each segment, (count, most rows of one), filled up with the row behind the last."""
    order = np.argsort(segments, kind="stable")
    ends = np.searchsorted(segments[order], np.arange(count + 1))  # a number below 0 is of none
    rows = [order[start:end] for start, end in pairwise(ends)]
    table = np.full((count, max([1, *map(len, rows)])), len(segments), np.int64)
    for line, entries in zip(table, rows, strict=True):
        line[: len(entries)] = entries
    return table


def _neutral(kind: str, dtype: int) -> np.ndarray:
    """What a segment without rows comes to, as TensorFlow defines it."""
    numbers = np.dtype(tensor_dtype_to_np_dtype(dtype))
    limits = np.iinfo(numbers) if numbers.kind in "iu" else np.finfo(numbers)
    return np.array({"Sum": 0, "Prod": 1, "Max": limits.min, "Min": limits.max}[kind], numbers)
