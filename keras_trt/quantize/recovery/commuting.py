"""TensorFlow's operators through which positive factors of the channels, on the last axis, pass unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor

READ_NO_VALUES = frozenset({"Shape", "ShapeN", "Size", "Rank"})
KEEP_THE_LARGEST = frozenset(
    {"Identity", "Cast", "StopGradient", "Snapshot", "Relu", "Relu6", "MaxPool", "MaxPool3D", "Pad", "PadV2"}
    | {"MirrorPad", "Reshape", "ExpandDims", "Squeeze", "Max", "ConcatV2"}
)
"""Those behind which the largest value of a channel that is never negative is the same."""
_UNARY = frozenset({"Identity", "Cast", "StopGradient", "Snapshot", "Relu", "Relu6", "LeakyRelu"})
_IMAGES = frozenset({"MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"})
_MOVES = frozenset(
    {"MirrorPad", "Pad", "PadV2", "ResizeNearestNeighbor", "ResizeBilinear", "ExpandDims", "Squeeze"}
)
_REDUCTIONS = frozenset({"Mean", "Sum", "Max", "Min"})
_SUMS = frozenset({"Add", "AddV2", "AddN", "Sub"})
_PRODUCTS = frozenset({"Mul", "RealDiv"})


def channel_operands(flavor: Flavor, op: Any) -> tuple[Any, ...]:
    """Those of an operator's inputs that are divided by the factors exactly where its output is; else none.

    Args:
        flavor: A Keras, for its TensorFlow.
        op: An operator of a graph.
    """
    if len(op.outputs) != 1 or not op.inputs:
        return ()
    kind, operands = op.type, (op.inputs[0],)
    if kind in _SUMS:
        operands = tuple(op.inputs)
        commutes = _same_width(op, operands)
    elif kind == "ConcatV2":
        operands = tuple(op.inputs[:-1])
        commutes = _joins_rows(flavor, op)
    elif kind in _PRODUCTS:
        operands = _scaled(op)
        commutes = bool(operands)
    else:
        commutes = _commutes(flavor, op)
    floats = all(each.dtype.is_floating for each in (*operands, op.outputs[0]))
    return operands if commutes and floats else ()


def _commutes(flavor: Flavor, op: Any) -> bool:
    """Whether factors pass through an operator of one tensor."""
    kind = op.type
    if kind in _IMAGES:
        return op.get_attr("data_format") in (b"NHWC", b"NDHWC")
    if kind in _MOVES or kind == "StridedSlice":
        return _same_width(op, op.inputs[:1]) and _pads_zeros(flavor, op) and _steps_forward(flavor, op)
    if kind in _REDUCTIONS:
        return _keeps_last(flavor, op)
    return kind in _UNARY or (kind == "Reshape" and _repeats(op.inputs[0], op.outputs[0]))


def _joins_rows(flavor: Flavor, op: Any) -> bool:
    axis, rank = flavor.tf.get_static_value(op.inputs[-1]), op.outputs[0].shape.rank
    return axis is not None and rank is not None and int(axis) % rank != rank - 1


def _width(tensor: Any) -> int | None:
    return tensor.shape[-1] if tensor.shape.rank else None


def _same_width(op: Any, tensors: Any) -> bool:
    width = _width(op.outputs[0])
    return width is not None and all(_width(each) == width for each in tensors)


def _repeats(before: object, after: object) -> bool:
    """Whether rows of channels stay whole: one width divides the other, as where an image is flattened."""
    widths = sorted(width for each in (before, after) if (width := _width(each)))
    return len(widths) == 2 and widths[1] % widths[0] == 0


def _pads_zeros(flavor: Flavor, op: Any) -> bool:
    if op.type != "PadV2":
        return True
    value = flavor.tf.get_static_value(op.inputs[2])
    return value is not None and float(value) == 0


def _steps_forward(flavor: Flavor, op: Any) -> bool:
    if op.type != "StridedSlice":
        return True
    strides = flavor.tf.get_static_value(op.inputs[3])
    return strides is not None and bool(np.all(strides > 0)) and not _picks_channel(op, len(strides))


def _picks_channel(op: Any, count: int) -> bool:
    """Whether the last of so many entries of a slice takes one channel, as in `x[..., 0]`."""
    last = 1 << (count - 1)
    ellipsis, shrinks, new = (op.get_attr(f"{name}_mask") for name in ("ellipsis", "shrink_axis", "new_axis"))
    reaches = 0 < ellipsis < last or count - new.bit_count() == op.inputs[0].shape.rank
    return bool(shrinks & last) and reaches


def _keeps_last(flavor: Flavor, op: Any) -> bool:
    axes, rank = flavor.tf.get_static_value(op.inputs[1]), op.inputs[0].shape.rank
    if axes is None or rank is None:
        return False
    return all(int(axis) % rank != rank - 1 for axis in np.atleast_1d(axes))


def _scaled(op: Any) -> tuple[Any, ...]:
    """The operand of a product or quotient that has its output's shape; the other one only scales it."""
    shape = list(op.outputs[0].shape)
    full = [i for i, each in enumerate(op.inputs) if list(each.shape) == shape]
    if len(full) == 1 and (op.type == "Mul" or full[0] == 0):
        return (op.inputs[full[0]],)
    return ()
