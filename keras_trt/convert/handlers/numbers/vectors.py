"""The cross product of vectors with three entries, and lengths of vectors."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import INT64, Nodes, replace
from keras_trt.convert.types import Graph, Node


def cross(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`a[1, 2, 0] * b[2, 0, 1] - a[2, 0, 1] * b[1, 2, 0]`."""
    a, b = node.input

    def build(add: Nodes) -> str:
        next_one, last_one = add.const([1, 2, 0], np.int64), add.const([2, 0, 1], np.int64)
        terms = [
            add("Mul", add("Gather", a, left, axis=-1), add("Gather", b, right, axis=-1))
            for left, right in ((next_one, last_one), (last_one, next_one))
        ]
        return add("Sub", *terms)

    return replace(ctx, node, name, build)


def euclidean_norm(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`sqrt(sum(x * x))` over the axes."""
    (x, axes), dtype = node.input, ctx.get_dtype(node.input[0])
    keeps = int(bool(node.get_attr_value("keep_dims", False)))

    def build(add: Nodes) -> str:
        listed = add("Cast", axes, dtype=INT64, to=INT64)
        over = add("Reshape", listed, add.const([-1], np.int64), dtype=INT64)
        squares = add("Mul", x, x, dtype=dtype)
        return add("Sqrt", add("ReduceSum", squares, over, keepdims=keeps, dtype=dtype), dtype=dtype)

    return replace(ctx, node, name, build)
