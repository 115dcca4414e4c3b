"""Places QuantizeLinear/DequantizeLinear where TensorRT fuses them: a DQ right before each quantised op.

All moves are exact. Scales are per tensor and zero points are 0, so Q and DQ commute with everything
that only moves values around or pads with zeros, and quantising again with the same scale changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from keras_trt.export.passes import _graph as g

WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")

_MOVERS = ("MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Pad", "Concat")
"""Ops between a DQ and a weighted op behind which Q/DQ is repeated, so that they run int8 themselves."""


_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")


class HoistLayoutPass(ir.passes.InPlacePass):
    """Moves layout changes before quantisers, so that nothing stands between Q, DQ and the op they feed.

    1. `Q -> Transpose -> DQ` and `Q -> DQ -> Transpose` become `Transpose -> Q -> DQ`; when the pair has
       other users, the Transpose gets a pair of its own.
    2. Reshape, Squeeze and Unsqueeze likewise, when the pair has no other user.
    3. `Pad -> Transpose` becomes `Transpose -> Pad`, so that the Pad can go into a Conv.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in list(model.graph):
            if node.op_type in _LAYOUT and node.graph is not None and not node.outputs[0].is_graph_output():
                modified = _hoist(node) or modified
        return ir.passes.PassResult(model, modified)


def _hoist(node: ir.Node) -> bool:
    source = g.producer(node.inputs[0], "QuantizeLinear", "DequantizeLinear", "Pad")
    if source is None:
        return False
    if source.op_type == "Pad":
        return node.op_type == "Transpose" and _swap_with_pad(node, source)
    alone = g.only_used_by(source.outputs[0], node)
    if g.scalar(source.inputs[1]) is None or not (alone or node.op_type == "Transpose"):
        return False
    # One step at a time: before a DQ first, then before its Q.
    moved = g.insert(
        node,
        node.op_type,
        [source.inputs[0], *node.inputs[1:]],
        dict(node.attributes),
        dtype=source.inputs[0].dtype,
        name=node.name or node.op_type,
    )
    output = node.outputs[0]
    moved.shape = None if output.shape is None else ir.Shape(output.shape)
    again = g.insert(
        node,
        source.op_type,
        [moved, *source.inputs[1:]],
        dict(source.attributes),
        like=output,
        name=source.name if alone else f"{source.name}_nchw",
    )
    g.replace(node, again)
    _drop_unused(source)
    if source.op_type == "DequantizeLinear":
        _hoist(moved.producer())
    return True


def _swap_with_pad(node: ir.Node, pad: ir.Node) -> bool:
    amounts, perm = g.constant(pad.inputs[1]), g.ints(node, "perm")
    if amounts is None or perm is None or len(amounts) != 2 * len(perm) or len(pad.inputs) > 3:
        return False
    if g.sole_consumer(pad.outputs[0]) is None:
        return False
    begin, end = np.split(amounts, 2)
    pads = g.add_constant(node.graph, np.concatenate([begin[perm], end[perm]]), f"{pad.name}/pads")
    moved = g.insert(
        node,
        "Transpose",
        [pad.inputs[0]],
        dict(node.attributes),
        dtype=pad.inputs[0].dtype,
        name=node.name or "Transpose",
    )
    shape = pad.inputs[0].shape
    moved.shape = None if shape is None else ir.Shape([shape[p] for p in perm])
    padded = g.insert(
        node,
        "Pad",
        [moved, pads, *pad.inputs[2:]],
        dict(pad.attributes),
        like=node.outputs[0],
        name=pad.name or "Pad",
    )
    g.replace(node, padded)
    _drop_unused(pad)
    return True


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
    _drop_unused(pad)
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
    pair = _pair(conv.inputs[0])
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
    _drop_unused(pad)
    return True


class RepeatQuantizersPass(ir.passes.InPlacePass):
    """`DQ -> MaxPool -> Conv` becomes `DQ -> MaxPool -> Q -> DQ -> Conv` with the same scale."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits every input of every weighted op."""
        modified = False
        for node in list(model.graph):
            if node.op_type not in WEIGHTED:
                continue
            for index, value in enumerate(list(node.inputs[:2])):
                if g.constant_shape(value) is not None or g.producer(value, *_MOVERS) is None:
                    continue
                pair = _source_pair(value)
                if pair is not None:
                    node.replace_input_with(index, _repeat(node, value, *pair))
                    modified = True
        return ir.passes.PassResult(model, modified)


def _pair(value: ir.Value | None) -> tuple[ir.Node, ir.Node] | None:
    """The (Q, DQ) that `value` comes out of, with per-tensor scales."""
    dq = g.producer(value, "DequantizeLinear")
    q = g.producer(dq.inputs[0], "QuantizeLinear") if dq is not None else None
    if dq is None or q is None or g.scalar(q.inputs[1]) is None or g.scalar(dq.inputs[1]) is None:
        return None
    return q, dq


def _source_pair(value: ir.Value) -> tuple[ir.Node, ir.Node] | None:
    """The (Q, DQ) behind value-moving ops; for a Concat that of all inputs, when their scales agree."""
    pair = _pair(value)
    if pair is not None:
        return pair
    node = g.producer(value, *_MOVERS)
    if node is None or (node.op_type == "Pad" and not _pads_zeros(node)):
        return None
    moved = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    pairs = [_source_pair(v) for v in moved if v is not None]
    if not pairs or any(p is None for p in pairs):
        return None
    scales = {g.scalar(p[0].inputs[1]) for p in pairs if p is not None}
    return pairs[0] if len(scales) == 1 else None


def _repeat(anchor: ir.Node, value: ir.Value, q: ir.Node, dq: ir.Node) -> ir.Value:
    """A copy of the pair on `value`, put before `anchor`."""
    dtype, before = q.outputs[0].dtype, (anchor.name or anchor.op_type).rsplit("/", 1)[-1]
    q_name, dq_name = (f"{node.name}_{before}" for node in (q, dq))
    quantized = g.insert(
        anchor, "QuantizeLinear", [value, *q.inputs[1:]], like=value, dtype=dtype, name=q_name
    )
    return g.insert(anchor, "DequantizeLinear", [quantized, *dq.inputs[1:]], like=value, name=dq_name)


def _drop_unused(*nodes: ir.Node) -> None:
    for node in nodes:
        output = node.outputs[0]
        if not output.uses() and not output.is_graph_output():
            node.graph.remove(node, safe=True)


def _pads_zeros(pad: ir.Node) -> bool:
    mode = pad.attributes["mode"].as_string() if "mode" in pad.attributes else "constant"
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    return mode == "constant" and (value is None or g.scalar(value) == 0.0)


def _spatial_zero_pads(pad: ir.Node) -> list[int] | None:
    """The pads in a Conv's notation, or None when the Pad does more than add zeros around."""
    amounts = g.constant(pad.inputs[1])
    if amounts is None or not _pads_zeros(pad) or (len(pad.inputs) > 3 and pad.inputs[3] is not None):
        return None
    begin, end = np.split(amounts, 2)
    if np.any(amounts < 0) or np.any(begin[:2]) or np.any(end[:2]):
        return None
    return [int(n) for n in (*begin[2:], *end[2:])]


def _auto_pad(node: ir.Node) -> bool:
    attr: Any = node.attributes.get("auto_pad")
    return attr is not None and attr.as_string() not in ("NOTSET", "VALID")
