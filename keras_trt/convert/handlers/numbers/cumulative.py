"""The product of all entries up to each: tf2onnx writes a loop, and fails on an axis counted from the end."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.types import Graph, Node

_AXES_AS_INPUT = 18
"""The opset since which ReduceProd takes its axes as a tensor."""


def cumulative_product(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """For each place of an axis of fixed length the product of those that count for it, without a loop."""
    x, shape, dtype = node.input[0], ctx.get_shape(node.input[0]), ctx.get_dtype(node.input[0])
    if not node.inputs[1].is_const() or not shape:
        return None
    axis = int(node.inputs[1].get_tensor_value()) % len(shape)
    size = shape[axis]
    if size < 0:
        return None
    counts = np.tril(np.ones((size, size), bool), -1 if node.get_attr_value("exclusive") else 0)
    counts = counts.T if node.get_attr_value("reverse") else counts

    def build(add: Nodes) -> str:
        rows = add("Unsqueeze", x, add.const([axis], np.int64), dtype=dtype)
        mask = add.const(counts.reshape(size, size, *[1] * (len(shape) - axis - 1)))
        one = add.cast(add.const(1.0, np.float32), dtype)
        factors = add("Where", mask, rows, one, dtype=dtype)
        if ctx.opset < _AXES_AS_INPUT:
            return add("ReduceProd", factors, axes=[axis + 1], keepdims=0, dtype=dtype)
        return add("ReduceProd", factors, add.const([axis + 1], np.int64), keepdims=0, dtype=dtype)

    return replace(ctx, node, name, build)
