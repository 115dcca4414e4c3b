"""Places QuantizeLinear/DequantizeLinear where TensorRT fuses them: a DQ right before each quantised op.

All moves are exact. Scales are per tensor and zero points are 0, so Q and DQ commute with everything
that only moves values around or pads with zeros, and quantising again with the same scale changes nothing.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.weight_axes import WEIGHTED

_MOVERS = ("MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Pad", "Concat")
"""Ops between a DQ and a weighted op behind which Q/DQ is repeated, so that they run int8 themselves."""


_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze")


class HoistLayoutPass(ir.passes.InPlacePass):
    """Moves layout changes before quantisers, so that nothing stands between Q, DQ and the op they feed.

    1. `Q -> Transpose -> DQ` and `Q -> DQ -> Transpose` become `Transpose -> Q -> DQ`; when the pair has
       other users, the Transpose gets a pair of its own.
    2. Reshape, Squeeze and Unsqueeze likewise, when the pair has no other user.
    3. `Pad -> Transpose` becomes `Transpose -> Pad`, and `Pad -> Unsqueeze` (a causal `Conv1D`) likewise, so
       that the Pad can go into a Conv.
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
        return _swap_with_pad(node, source)
    alone = g.only_used_by(source.outputs[0], node)
    if g.scalar(source.inputs[1]) is None or not (alone or node.op_type == "Transpose"):
        return False
    # One step at a time: before a DQ first, then before its Q.
    moved = _moved_before(node, source)
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
    drop_unused(source)
    if source.op_type == "DequantizeLinear":
        _hoist(moved.producer())
    return True


def _swap_with_pad(node: ir.Node, pad: ir.Node) -> bool:
    amounts = _amounts_behind(node, pad)
    if amounts is None or g.sole_consumer(pad.outputs[0]) is None:
        return False
    pads = g.add_constant(node.graph, amounts, f"{pad.name}/pads")
    moved = _moved_before(node, pad)
    moved.shape = _unpadded(node.outputs[0].shape, amounts)
    padded = g.insert(
        node,
        "Pad",
        [moved, pads, *pad.inputs[2:]],
        dict(pad.attributes),
        like=node.outputs[0],
        name=pad.name or "Pad",
    )
    g.replace(node, padded)
    drop_unused(pad)
    return True


def _moved_before(node: ir.Node, source: ir.Node) -> ir.Value:
    """What a node makes of the input of the one before it; the shape is still to be said."""
    x = source.inputs[0]
    return g.insert(
        node,
        node.op_type,
        [x, *node.inputs[1:]],
        dict(node.attributes),
        dtype=x.dtype,
        name=node.name or node.op_type,
    )


def _amounts_behind(node: ir.Node, pad: ir.Node) -> np.ndarray | None:
    """What a Pad adds to each axis behind a Transpose or Unsqueeze; None where it cannot be said."""
    amounts = g.constant(pad.inputs[1])
    if amounts is None or len(pad.inputs) > 3:
        return None
    begin, end = np.split(amounts, 2)
    perm, axes = g.ints(node, "perm"), g.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type == "Transpose" and perm is not None and len(perm) == len(begin):
        return np.concatenate([begin[perm], end[perm]])
    if node.op_type == "Unsqueeze" and axes is not None:
        rank = len(begin) + axes.size
        new = {int(axis) % rank for axis in axes.ravel()}
        behind = np.zeros((2, rank), amounts.dtype)
        behind[:, [axis for axis in range(rank) if axis not in new]] = begin, end
        return behind.ravel()
    return None


def _unpadded(shape: ir.Shape | None, amounts: np.ndarray) -> ir.Shape | None:
    """A shape before it was padded; an axis of unknown size that was padded has another unknown one."""
    if shape is None:
        return None
    added = amounts.reshape(2, -1).sum(axis=0).tolist()
    sizes = zip(shape, added, strict=True)
    return ir.Shape([size - n if isinstance(size, int) else None if n else size for size, n in sizes])


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


def pair_behind(value: ir.Value | None) -> tuple[ir.Node, ir.Node] | None:
    """The (Q, DQ) that `value` comes out of, with per-tensor scales."""
    dq = g.producer(value, "DequantizeLinear")
    q = g.producer(dq.inputs[0], "QuantizeLinear") if dq is not None else None
    if dq is None or q is None or g.scalar(q.inputs[1]) is None or g.scalar(dq.inputs[1]) is None:
        return None
    return q, dq


def _source_pair(value: ir.Value) -> tuple[ir.Node, ir.Node] | None:
    """The (Q, DQ) behind value-moving ops; for a Concat that of all inputs, when their scales agree."""
    pair = pair_behind(value)
    if pair is not None:
        return pair
    node = g.producer(value, *_MOVERS)
    if node is None or (node.op_type == "Pad" and not pads_zeros(node)):
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


def drop_unused(*nodes: ir.Node) -> None:
    """Removes the nodes whose output nothing reads."""
    for node in nodes:
        output = node.outputs[0]
        if not output.uses() and not output.is_graph_output():
            node.graph.remove(node, safe=True)


def pads_zeros(pad: ir.Node) -> bool:
    """Whether a Pad adds zeros, which are zeros on every grid."""
    mode = pad.attributes["mode"].as_string() if "mode" in pad.attributes else "constant"
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    return mode == "constant" and (value is None or g.scalar(value) == 0.0)
