"""`//` and `%` of integers: TensorFlow rounds the quotient down, ONNX's Div cuts it towards zero."""

from __future__ import annotations

import numpy as np

from keras_trt._base.formats import ELEMENT_TYPES
from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node

_SIGNED = {
    number: name for number, name in ELEMENT_TYPES.items() if name in ("int8", "int16", "int32", "int64")
}
# Sizes of tensors are the common case: what is made of them is not negative. Of the second kind only the
# first input counts, the others are positions.
_SIZES = ("Shape", "Size")
_VIEWS = (
    *("Cast", "Identity", "Squeeze", "Unsqueeze", "ExpandDims", "Reshape", "Slice", "StridedSlice"),
    *("Gather", "GatherV2", "Prod", "ReduceProd"),
)
_SUMS = ("Concat", "Pack", "Mul", "Add", "AddV2", "Div", "FloorDiv", "Max", "Maximum", "Min", "Minimum")


def floor_divide(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`x // y`: the quotient, one less where the signs differ and something is left over."""
    if _is_plain(ctx, node):
        return stock("FloorDiv", ctx, node)
    (x, y), dtype = node.input, ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        quotient, _rest, below = _divided(add, x, y, dtype)
        return add("Sub", quotient, below, dtype=dtype)

    return replace(ctx, node, name, build)


def floor_modulo(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`x % y`, with the sign of `y`: what is left over, and once more `y` where its sign is another."""
    if _is_plain(ctx, node):
        return stock("FloorMod", ctx, node)
    (x, y), dtype = node.input, ctx.get_dtype(node.input[0])

    def build(add: Nodes) -> str:
        _quotient, rest, below = _divided(add, x, y, dtype)
        return add("Add", rest, add("Mul", below, y, dtype=dtype), dtype=dtype)

    return replace(ctx, node, name, build)


def _is_plain(ctx: Graph, node: Node) -> bool:
    """Whether cutting is rounding down: floats are rounded by tf2onnx, and signs that cannot differ."""
    if ctx.get_dtype(node.input[0]) not in _SIGNED:
        return True
    return all(is_nonnegative(maker) for maker in node.inputs)


def is_nonnegative(node: Node, depth: int = 8) -> bool:
    """Whether nothing in the output of a node can be negative, as far as the nodes before it tell."""
    if node is None or depth == 0:
        return False
    if node.is_const():
        return bool(np.all(node.get_tensor_value(as_list=False) >= 0))
    if node.type in _SIZES:
        return True
    if node.type in _VIEWS:
        return is_nonnegative(node.inputs[0], depth - 1)
    return node.type in _SUMS and all(is_nonnegative(maker, depth - 1) for maker in node.inputs)


def _divided(add: Nodes, x: str, y: str, dtype: int) -> tuple[str, str, str]:
    """ONNX's quotient, what is left over, and 1 where that is of another sign than `y`."""
    quotient = add("Div", x, y, dtype=dtype)
    rest = add("Sub", x, add("Mul", quotient, y, dtype=dtype), dtype=dtype)
    zero = add.const(0, _SIGNED[dtype])
    is_left = add("Not", add("Equal", rest, zero))
    below = add("And", is_left, add("Xor", add("Less", rest, zero), add("Less", y, zero)))
    return quotient, rest, add("Cast", below, to=dtype)
