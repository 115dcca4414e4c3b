"""Operators that compute the same in any order of axes, once what they say of the axes is put in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

# fmt: off
_ELEMENTWISE = frozenset((
    "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp",
    "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "IsInf", "IsNaN",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not",
    "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu", "Where", "Xor",
))
_REDUCTIONS = frozenset((
    "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
))
# fmt: on
_DEFAULT_AXIS = {
    "Concat": 0,
    "DequantizeLinear": 1,
    "Gather": 0,
    "Hardmax": -1,
    "LogSoftmax": -1,
    "LpNormalization": -1,
    "QuantizeLinear": 1,
    "Softmax": -1,
    "Split": 0,
    "TopK": -1,
}
# The inputs that name axes, and those with an entry for each axis (Pad: for either side of each).
_AXES = {**dict.fromkeys(_REDUCTIONS, 1), "CumSum": 1, "Pad": 3, "Slice": 3}
_PER_AXIS = {"Expand": (1,), "Pad": (1,), "Resize": (2, 3), "Tile": (1,)}


def permuted(entries: Sequence[object] | np.ndarray, order: Sequence[int]) -> list[Any]:
    """What belongs to axis i comes to the place `order[i]`."""
    moved = list(entries)
    for entry, place in zip(entries, order, strict=True):
        moved[place] = entry
    return moved


def can_be_moved(node: ir.Node, rank: int) -> bool:
    """Whether a node that works on tensors of this rank works in another order of their axes too."""
    kind = node.op_type
    if any(g.rank(value) != rank for value in node.outputs):
        return False
    if kind in _ELEMENTWISE:
        return all(_fits(value, rank) for value in node.inputs)
    tensors = node.inputs if kind == "Concat" else node.inputs[:1]
    if any(g.rank(value) != rank or g.constant_shape(value) is not None for value in tensors):
        return False
    if kind in _AXES and _has(node, _AXES[kind]) and g.constant_shape(node.inputs[_AXES[kind]]) is None:
        return False
    sizes = [node.inputs[i] for i in _PER_AXIS.get(kind, ()) if _has(node, i)]
    if kind == "Slice" and not _has(node, _AXES[kind]):
        sizes.append(node.inputs[1])
    return all(map(_has_known_length, sizes)) and _says_all(node)


def _has_known_length(value: ir.Value | None) -> bool:
    """Whether entries can be put in order: those of a constant, or computed ones of a known number."""
    return g.constant_shape(value) is not None or (
        value is not None and value.shape is not None and isinstance(value.shape[0], int)
    )


def _says_all(node: ir.Node) -> bool:
    """Whether a node has nothing more to say of axes than what `move` puts in order."""
    kind = node.op_type
    if kind in _REDUCTIONS:
        return _has(node, 1) and g.integer(node, "keepdims", 1) == 1
    if kind == "Resize":
        whole = not _has(node, 1) or g.constant_shape(node.inputs[1]) == (0,)
        return whole and "axes" not in node.attributes
    return kind in ("CumSum", "Expand", "Pad", "Slice", "Tile") or (
        kind in _DEFAULT_AXIS and "block_size" not in node.attributes
    )


def _fits(value: ir.Value | None, rank: int) -> bool:
    """A tensor of the region, one number, or a constant that is broadcast along the last axes."""
    if value is None or g.rank(value) == 0:
        return True
    shape = g.constant_shape(value)
    return g.rank(value) == rank if shape is None else len(shape) <= rank


def _has(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def move(node: ir.Node, order: Sequence[int]) -> None:
    """Puts a node's attributes and constants in order; `order` as for `permuted`."""
    kind, rank = node.op_type, len(order)
    if kind in _ELEMENTWISE:
        for index, value in enumerate(node.inputs):
            shape = g.constant_shape(value)
            if shape and int(np.prod(shape)) != 1:
                _change(node, index, lambda array: _spread(array, rank).transpose(np.argsort(order)))
    elif kind in _DEFAULT_AXIS:
        axis = g.integer(node, "axis", _DEFAULT_AXIS[kind])
        node.attributes["axis"] = ir.AttrInt64("axis", order[axis % rank])
    elif kind in _AXES and _has(node, _AXES[kind]):
        _change(
            node,
            _AXES[kind],
            lambda axes: np.reshape([order[int(axis) % rank] for axis in axes.flat], axes.shape),
        )
    elif kind == "Slice":
        _name_axes(node, order)
    else:
        for index in filter(lambda i: _has(node, i), _PER_AXIS[kind]):
            _order_entries(node, index, order)


def _name_axes(node: ir.Node, order: Sequence[int]) -> None:
    """A Slice without a list of axes is of the first ones; the list must be of the type of its starts."""
    starts = g.given(node.inputs[1])
    count = g.given(starts.shape).numpy()[0]  # as many starts as it cuts axes
    axes = np.array(order[:count], g.given(starts.dtype).numpy())
    node.resize_inputs(max(len(node.inputs), 4))
    node.replace_input_with(3, g.add_constant(g.given(node.graph), axes, f"{node.name}/axes"))


def _order_entries(node: ir.Node, index: int, order: Sequence[int]) -> None:
    """Puts entries for each axis in order; those that are computed are looked up."""
    sizes = g.given(node.inputs[index])
    if g.constant_shape(sizes) is not None:
        _change(node, index, lambda entries: _in_order(entries, order))
        return
    places = _in_order(np.arange(g.given(sizes.shape).numpy()[0]), order)
    name = f"{node.name}/in_order"
    inputs: list[ir.Value | None] = [sizes, g.add_constant(g.given(node.graph), places, f"{name}/places")]
    node.replace_input_with(index, g.insert(node, "Gather", inputs, {"axis": 0}, like=sizes, name=name))


def _in_order(sizes: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """Sizes of each axis; none at all, or those of either side, one behind the other."""
    halves = np.split(sizes, sizes.size // len(order)) if sizes.size else []
    return np.concatenate([permuted(half, order) for half in halves]) if halves else sizes


def _spread(array: np.ndarray, rank: int) -> np.ndarray:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _change(node: ir.Node, index: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    old = g.given(node.inputs[index])
    array = g.given(g.constant(old))
    new = g.add_constant(g.given(node.graph), change(array).astype(array.dtype), f"{old.name}__moved")
    node.replace_input_with(index, new)
