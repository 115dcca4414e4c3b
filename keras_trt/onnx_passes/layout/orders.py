"""Orders of axes, and the nodes that do nothing but change them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.layout.other_rank import Order


def is_plain(order: Order) -> bool:
    """Whether an order changes nothing."""
    return order == tuple(range(len(order)))


def order_of(node: ir.Node | None) -> Order | None:
    """The order that a Transpose makes, or a Reshape that does nothing but move axes of size one."""
    if node is None or node.op_type not in ("Transpose", "Reshape"):
        return None
    if node.op_type == "Reshape":
        return _order_of_reshape(node.inputs[0], node.outputs[0])
    perm = g.ints(node, "perm")
    return None if perm is None else tuple(perm)


def _order_of_reshape(before: ir.Value | None, after: ir.Value) -> Order | None:
    if before is None or before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        return None
    old, new = list(before.shape)[1:], list(after.shape)[1:]
    if any(not isinstance(size, int) for size in (*old, *new)) or 0 in (*old, *new):
        return None
    if [size for size in old if size != 1] != [size for size in new if size != 1] or old == new:
        return None
    ones, others = ([i for i, size in enumerate(old, 1) if (size == 1) == is_one] for is_one in (True, False))
    return (0, *((ones if size == 1 else others).pop(0) for size in new))


def inverse(order: Order) -> Order:
    """The order that takes another one back."""
    return tuple(int(i) for i in np.argsort(order))


def make_transpose(node: ir.Node | None) -> None:
    """Writes a Reshape that moves axes as a Transpose, which others can take in."""
    order = order_of(node)
    if node is not None and order is not None and node.op_type == "Reshape":
        node.replace_input_with(1, None)
        node.resize_inputs(1)
        node.op_type = "Transpose"
        node.attributes.clear()
        node.attributes["perm"] = ir.AttrInt64s("perm", order)
