"""Products and quotients that are zero where one factor is, whatever the other."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.types import Graph, Node


def zero_times(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`x * log(y)`, `x * log(1 + y)` and `x / y`, zero where `x` is; `multiply_no_nan(y, x)`, too."""
    (x, y), kind, dtype = node.input, node.type, ctx.get_dtype(node.input[0])
    if kind == "MulNoNan":
        x, y = y, x

    def build(add: Nodes) -> str:
        one, zero = (add.cast(add.const(value, np.float32), dtype) for value in (1, 0))
        if kind == "Xdivy":
            product = add("Div", x, y, dtype=dtype)
        elif kind == "MulNoNan":
            product = add("Mul", x, y, dtype=dtype)
        else:
            inside = add("Add", y, one, dtype=dtype) if kind == "Xlog1py" else y
            product = add("Mul", x, add("Log", inside, dtype=dtype), dtype=dtype)
        return add("Where", add("Equal", x, zero), zero, product, dtype=dtype)

    return replace(ctx, node, name, build)
