"""`log(1 + x)` and `exp(x) - 1`, for which ONNX has no operators of their own."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.types import Graph, Node


def log1p(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`log(1 + x)`; of an x that is tiny it keeps as many digits as 1 + x has."""
    x, dtype = node.input[0], ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        return add("Log", add("Add", x, add.const(1.0, np.float32), dtype=dtype), dtype=dtype)

    return replace(ctx, node, name, build)


def expm1(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`exp(x) - 1`."""
    x, dtype = node.input[0], ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        return add("Sub", add("Exp", x, dtype=dtype), add.const(1.0, np.float32), dtype=dtype)

    return replace(ctx, node, name, build)
