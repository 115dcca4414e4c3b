"""Axes turned around, mirrored at their ends, or shifted round: slices, which work in any order of axes.

tf2onnx reverses sequences between Transposes, counts sizes in the graph, and writes `Compress`, which
TensorRT does not take.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node

_BEGIN, _END = np.iinfo(np.int32).min, np.iinfo(np.int32).max


def reverse(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`tf.reverse`: one slice with steps of -1."""
    x, rank = node.input[0], ctx.get_rank(node.input[0])
    if rank is None or not node.inputs[1].is_const():
        return None
    axes = sorted({int(axis) % rank for axis in np.ravel(node.inputs[1].get_tensor_value(as_list=False))})

    def build(add: Nodes) -> str:
        return _slice(add, x, axes, -1, _BEGIN, -1) if axes else x

    return replace(ctx, node, name, build)


def mirror_pad(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`tf.pad` by known amounts: the rows at either end once more, turned around; else tf2onnx's own.

    `"REFLECT"` leaves the outermost row itself out.
    """
    if not node.inputs[1].is_const():
        node.type = "Pad"  # as tf2onnx renames it before
        stock("MirrorPad", ctx, node)
        return node
    x, amounts = node.input[0], node.inputs[1].get_tensor_value(as_list=False)
    out = int(node.get_attr_str("mode") == "REFLECT")

    def build(add: Nodes) -> str:
        padded = x
        for axis, (before, after) in enumerate(amounts.tolist()):
            pieces = [padded]
            if before:
                end = 0 if out else _BEGIN
                pieces.insert(0, _slice(add, padded, [axis], before - 1 + out, end, -1))
            if after:
                pieces.append(_slice(add, padded, [axis], -1 - out, -after - 1 - out, -1))
            padded = _joined(add, pieces, axis)
        return padded

    return replace(ctx, node, name, build)


def roll(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`tf.roll` by known numbers along axes of known size: two slices; else tf2onnx's own conversion."""
    sizes, known = ctx.get_shape(node.input[0]), all(value.is_const() for value in node.inputs[1:])
    shifts, axes = (
        np.ravel(value.get_tensor_value(as_list=False)).tolist() if known else [] for value in node.inputs[1:]
    )
    if not known or sizes is None or any(sizes[axis] < 1 for axis in axes):
        stock("Roll", ctx, node)
        return node
    x, axes = node.input[0], [axis % len(sizes) for axis in axes]

    def build(add: Nodes) -> str:
        rolled = x
        for shift, axis in zip(shifts, axes, strict=True):
            places = shift % sizes[axis]
            if places:
                ends = (_slice(add, rolled, [axis], -places, _END), _slice(add, rolled, [axis], 0, -places))
                rolled = _joined(add, ends, axis)
        return rolled

    return replace(ctx, node, name, build)


def _slice(add: Nodes, x: str, axes: Sequence[int], start: int, end: int, step: int = 1) -> str:
    numbers = (add.const([number] * len(axes), np.int64) for number in (start, end))
    steps = add.const([step] * len(axes), np.int64)
    return add("Slice", x, *numbers, add.const(axes, np.int64), steps, dtype=add.ctx.get_dtype(x))


def _joined(add: Nodes, pieces: Sequence[str], axis: int) -> str:
    return (
        pieces[0]
        if len(pieces) == 1
        else add("Concat", *pieces, axis=axis, dtype=add.ctx.get_dtype(pieces[0]))
    )
