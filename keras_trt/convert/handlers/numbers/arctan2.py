"""The angle of a point, for which ONNX has no operator; tf2onnx's own takes -0.0 for 0.0."""

from __future__ import annotations

import math

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, Nodes, replace
from keras_trt.convert.types import Graph, Node


def arctan2(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """The angle to the nearer half of the x axis, turned to the quadrant that the signs say."""
    y, x = node.input

    def build(add: Nodes) -> str:
        zero, quarter, pi = (add.const(n, np.float32) for n in (0.0, math.pi / 2, math.pi))
        high, wide = add("Abs", y, dtype=FLOAT), add("Abs", x, dtype=FLOAT)
        steep = add("Greater", high, wide)
        long, short = add("Max", high, wide, dtype=FLOAT), add("Min", high, wide, dtype=FLOAT)
        slope = add("Div", short, long, dtype=FLOAT)  # of equal ones 1, also where both are infinite
        slope = add("Where", add("Equal", short, long), add("Sign", long, dtype=FLOAT), slope, dtype=FLOAT)
        angle = add("Atan", slope, dtype=FLOAT)
        angle = add("Where", steep, add("Sub", quarter, angle, dtype=FLOAT), angle, dtype=FLOAT)
        left = add(
            "Where", _is_negative(add, x, zero), add("Sub", pi, angle, dtype=FLOAT), angle, dtype=FLOAT
        )
        return add("Where", _is_negative(add, y, zero), add("Neg", left, dtype=FLOAT), left, dtype=FLOAT)

    return replace(ctx, node, name, build)


def _is_negative(add: Nodes, x: str, zero: str) -> str:
    """Whether a number has a minus sign; of a zero, 1 / x has it."""
    inverse = add("Reciprocal", x, dtype=FLOAT)
    return add("Or", add("Less", x, zero), add("Less", inverse, zero))
