"""One-hot vectors: ONNX counts negative positions from the end, for TensorFlow they are nowhere."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import INT64, Nodes
from keras_trt.convert.handlers.numbers.integers import is_nonnegative
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def one_hot(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """tf2onnx's own conversion, of positions that are moved behind the last one where they are negative."""
    if not is_nonnegative(node.inputs[0]):
        add, x = Nodes(ctx, name), node.input[0]
        positions, shape = add.cast(x, INT64), ctx.get_shape(x)
        depth = add.cast(node.input[1], INT64)
        is_outside = add("Less", positions, add.const(0, np.int64))
        moved = add("Where", is_outside, depth, positions, dtype=INT64)
        ctx.set_shape(moved, shape)
        ctx.replace_input(node, x, moved, 0)
    stock("OneHot", ctx, node)
    return node
