"""What the error function leaves over, as in the exact gelu, and its inverse; ONNX has neither."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.types import Graph, Node

# fmt: off
_MIDDLE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)
# fmt: on
"""Giles, "Approximating the erfinv function" (2012), for float32: highest power first."""


def erfc(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`erfc(x) = 1 - erf(x)`."""
    x, dtype = node.input[0], ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        return add("Sub", add.const(1.0, np.float32), add("Erf", x, dtype=dtype), dtype=dtype)

    return replace(ctx, node, name, build)


def erfinv(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`x * p(w)` with `w = -log(1 - x^2)`, p being another polynomial where w is not below 5."""
    x = node.input[0]

    def build(add: Nodes) -> str:
        def number(value: float) -> str:
            return add.const(value, np.float32)

        def polynomial(coefficients: tuple[float, ...], at: str) -> str:
            result = number(coefficients[0])
            for coefficient in coefficients[1:]:
                result = add("Add", add("Mul", result, at), number(coefficient))
            return result

        w = add("Neg", add("Log", add("Mul", add("Sub", number(1), x), add("Add", number(1), x))))
        middle = polynomial(_MIDDLE, add("Sub", w, number(2.5)))
        tail = polynomial(_TAIL, add("Sub", add("Sqrt", add("Max", w, number(0))), number(3)))
        factor = add("Where", add("Less", w, number(5)), middle, tail)
        infinite = add("Equal", add("Abs", x), number(1))  # there w is, and so are its powers
        return add("Where", infinite, add("Mul", x, number(np.inf)), add("Mul", x, factor))

    return replace(ctx, node, name, build)
