"""Makes zero padding a part of the convolution or pool behind it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.quantized.qdq import drop_unused, pads_zeros, pair_behind


class FoldPadPass(ir.passes.InPlacePass):
    """A zero `Pad` of the spatial axes becomes padding of the op behind it.

    1. Before a `Conv` or its Q/DQ.
    2. Before a `MaxPool` of values that are never negative (its own padding counts as minus infinity).
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "Conv" and not _auto_pad(node):
                modified = _fold_pad(node) or modified
            elif node.op_type == "MaxPool" and not _auto_pad(node) and len(node.outputs) == 1:
                modified = _fold_pad_of_pool(node) or modified
        return ir.passes.PassResult(model, modified)


def _fold_pad_of_pool(pool: ir.Node) -> bool:
    pad = g.producer(pool.inputs[0], "Pad")
    pads = _spatial_zero_pads(pad) if pad is not None else None
    if pad is None or pads is None or not _never_negative(pad.inputs[0]):
        return False
    kernel = g.ints(pool, "kernel_shape") or []
    total = [a + b for a, b in zip(g.ints(pool, "pads", [0] * len(pads)) or [], pads, strict=True)]
    if any(n >= size for n, size in zip(total, kernel * 2, strict=True)):
        return False  # a window of padding only would be minus infinity
    pool.attributes["pads"] = ir.AttrInt64s("pads", total)
    pool.replace_input_with(0, pad.inputs[0])
    drop_unused(pad)
    return True


def _never_negative(value: ir.Value) -> bool:
    """Whether a tensor is known to hold no negative values."""
    node = g.producer(value)
    if node is None:
        return False
    if node.op_type in ("Relu", "Sigmoid", "Softmax", "Abs", "Exp", "Softplus"):
        return True
    if node.op_type == "Clip":
        low = g.scalar(node.inputs[1]) if len(node.inputs) > 1 else None
        return low is not None and low >= 0
    if node.op_type in (
        "MaxPool",
        "QuantizeLinear",
        "DequantizeLinear",
        "Transpose",
        "Reshape",
        "AveragePool",
    ):
        return _never_negative(node.inputs[0])
    return False


def _fold_pad(conv: ir.Node) -> bool:
    pair = pair_behind(conv.inputs[0])
    if pair is not None and g.sole_consumer(pair[1].outputs[0]) is not None:
        user: ir.Node = pair[0]  # Q(Pad(x)) = Pad(Q(x)), so the Pad may pass the pair
        alone = g.sole_consumer(user.outputs[0]) is not None
    else:
        user, alone = conv, True
    pad = g.producer(user.inputs[0], "Pad")
    pads = _spatial_zero_pads(pad) if pad is not None and alone else None
    if pad is None or pads is None:
        return False
    own = g.ints(conv, "pads", [0] * len(pads)) or []
    conv.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(own, pads, strict=True)])
    user.replace_input_with(0, pad.inputs[0])
    if pair is not None and user is pair[0]:  # their tensors have the unpadded shape now
        for value in (pair[0].outputs[0], pair[1].outputs[0]):
            value.shape = None if pad.inputs[0].shape is None else ir.Shape(pad.inputs[0].shape)
    drop_unused(pad)
    return True


def _spatial_zero_pads(pad: ir.Node) -> list[int] | None:
    """The pads in a Conv's notation, or None when the Pad does more than add zeros around."""
    amounts = g.constant(pad.inputs[1])
    if amounts is None or not pads_zeros(pad) or (len(pad.inputs) > 3 and pad.inputs[3] is not None):
        return None
    begin, end = np.split(amounts, 2)
    if np.any(amounts < 0) or np.any(begin[:2]) or np.any(end[:2]):
        return None
    return [int(n) for n in (*begin[2:], *end[2:])]


def _auto_pad(node: ir.Node) -> bool:
    attr: Any = node.attributes.get("auto_pad")
    return attr is not None and attr.as_string() not in ("NOTSET", "VALID")
