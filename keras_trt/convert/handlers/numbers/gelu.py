"""The complementary error function of the exact gelu, in both Kerases."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.types import Graph, Node


def erfc(ctx: Graph, node: Node, name: str, _: list[object]) -> Any:
    """`erfc(x) = 1 - erf(x)`."""
    x, dtype = node.input[0], ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        return add("Sub", add.const(1.0, np.float32), add("Erf", x, dtype=dtype), dtype=dtype)

    return replace(ctx, node, name, build)
