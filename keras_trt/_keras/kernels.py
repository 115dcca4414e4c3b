"""Which variables of which layer classes are weights, and along which axes their channels run.

A pure table. Pruning masks these variables, quantisation puts per-channel scales on them. Axes are
counted from the end, so that one row serves 1D, 2D and 3D.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_trt._base.kerases import is_of_keras
from keras_trt._keras.types import Layer
from keras_trt.errors import InputError


@dataclass(frozen=True)
class Kernel:
    """One weight variable of a layer class.

    Attributes:
        name: The layer's attribute that holds the variable.
        channel_axes: Axes of the output channels: one scale each (a depthwise kernel has two).
        input_axes: Axes summed over that hold the input channels, outermost first; empty when every
            output sees one input channel only. N:M sparsity runs along the last of them.
        constraint: The layer's attribute (and constructor argument) with the variable's constraint.
    """

    name: str
    channel_axes: tuple[int, ...]
    input_axes: tuple[int, ...]
    constraint: str = "kernel_constraint"


_CONV = (Kernel("kernel", (-1,), (-2,)),)  # (..., in / groups, out)
_TRANSPOSE = (Kernel("kernel", (-2,), (-1,)),)  # (..., out, in)
_DEPTHWISE = (  # (..., in, multiplier); Keras 3 calls it `kernel`, tf_keras `depthwise_kernel`
    Kernel("depthwise_kernel", (-2, -1), (), "depthwise_constraint"),
    Kernel("kernel", (-2, -1), (), "depthwise_constraint"),
)
_SEPARABLE = (
    Kernel("depthwise_kernel", (-2, -1), (), "depthwise_constraint"),
    Kernel("pointwise_kernel", (-1,), (-2,), "pointwise_constraint"),
)
_RECURRENT = (
    Kernel("kernel", (-1,), (-2,)),
    Kernel("recurrent_kernel", (-1,), (-2,), "recurrent_constraint"),
)

# The class nearest in the method resolution order wins: tf_keras's Conv2DTranspose is a Conv2D.
KERNELS: dict[str, tuple[Kernel, ...]] = {
    "Dense": _CONV,
    "EinsumDense": (Kernel("kernel", (), ()),),  # axes come from the layer's equation
    "Conv1D": _CONV,
    "Conv2D": _CONV,
    "Conv3D": _CONV,
    "Conv1DTranspose": _TRANSPOSE,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3DTranspose": _TRANSPOSE,
    "DepthwiseConv1D": _DEPTHWISE,
    "DepthwiseConv2D": _DEPTHWISE,
    "SeparableConv1D": _SEPARABLE,
    "SeparableConv2D": _SEPARABLE,
    "Embedding": (Kernel("embeddings", (-1,), (), "embeddings_constraint"),),
    "LSTMCell": _RECURRENT,
    "GRUCell": _RECURRENT,
    "SimpleRNNCell": _RECURRENT,
}

CONVOLUTIONS = frozenset(name for name in KERNELS if "Conv" in name)
"""Keras's convolutions of every kind."""
DEPTHWISE = frozenset(name for name, rows in KERNELS.items() if rows is _DEPTHWISE)
"""Those of them that make each channel of one channel."""

_REGISTERED: dict[type, tuple[Kernel, ...]] = {}


def register_layer(
    cls: type, kernels: Sequence[str], channel_axis: int = -1, *, input_axis: int | None = -2
) -> None:
    """Tells pruning and quantisation about a layer class of your own.

    Args:
        cls: The layer class; its subclasses are included.
        kernels: Names of the attributes that hold the weight variables.
        channel_axis: The axis of the output channels in each of them.
        input_axis: The axis of the input channels, `None` when outputs do not sum over channels.

    Raises:
        InputError: `cls` is no class, or no kernel is named.

    Example:
        >>> keras_trt.register_layer(MyProjection, kernels=["w"], channel_axis=-1)
    """
    if not isinstance(cls, type):
        raise InputError(f"`cls` must be a layer class. Received: cls={cls!r}")
    listed = isinstance(kernels, Sequence) and not isinstance(kernels, str)
    if not listed or not kernels or not all(isinstance(name, str) for name in kernels):
        raise InputError(f"`kernels` must list at least one attribute name. Received: kernels={kernels!r}")
    for argument, axis in (("channel_axis", channel_axis), ("input_axis", input_axis)):
        if isinstance(axis, bool) or not (
            isinstance(axis, int) or (argument == "input_axis" and axis is None)
        ):
            raise InputError(f"`{argument}` must be the number of an axis. Received: {axis!r}")
    inputs = () if input_axis is None else (input_axis,)
    _REGISTERED[cls] = tuple(Kernel(name, (channel_axis,), inputs, f"{name}_constraint") for name in kernels)


def registered_classes() -> tuple[type, ...]:
    """The classes given to `register_layer`."""
    return tuple(_REGISTERED)


def kernels_of(layer: Layer) -> tuple[Kernel, ...]:
    """The weight variables of a layer that exist on it; empty for a layer without any.

    A layer's twin or subclass counts as its base class. Sub-layers are not looked into.
    """
    return _first_of_each(row for row in _resolved(layer) if hasattr(layer, row.name))


def kernel_of(layer: Layer, name: str) -> Kernel:
    """The row of one of a layer's weight variables, found without touching the variable."""
    return next(row for row in _resolved(layer) if row.name == name)


def input_width(layer: Layer, name: str) -> int:
    """How many inputs each output of one of a layer's kernels sums over."""
    shape = getattr(layer, name).shape
    channels = {axis % len(shape) for axis in kernel_of(layer, name).channel_axes}
    return math.prod(size for axis, size in enumerate(shape) if axis not in channels)


def _resolved(layer: Any) -> tuple[Kernel, ...]:
    rows = rows_of(type(layer))
    if any(cls.__name__ == "EinsumDense" and is_keras_own(cls) for cls in type(layer).__mro__):
        rows = tuple(_einsum_kernel(row.name, layer.equation) for row in rows)
    return rows


def rows_of(layer_class: type) -> tuple[Kernel, ...]:
    """The table's rows for a layer class, whether or not a layer of it has them all."""
    for cls in layer_class.__mro__:
        rows = _REGISTERED.get(cls) or (KERNELS.get(cls.__name__) if is_keras_own(cls) else None)
        if rows is not None:
            return rows
    return ()


def channel_axis(layer: Any) -> int:
    """The axis of the channels in what a layer reads and makes, counted from the last."""
    return -1 - layer.rank if getattr(layer, "data_format", None) == "channels_first" else -1


def calls_by_keras(layer_class: type) -> bool:
    """Whether layers of a class compute by a `call` of Keras's own, and not by one of somebody else's."""
    caller = next((cls for cls in layer_class.__mro__ if "call" in vars(cls)), None)
    return caller is not None and is_keras_own(caller)


def adds_bias(layer_class: type) -> bool:
    """Whether layers of a class compute `activation(product + bias)`: Keras's own, but for recurrent cells.

    What a `call` of somebody else's does with a bias is not known.
    """
    return calls_by_keras(layer_class) and rows_of(layer_class) not in ((), _RECURRENT)


def is_depthwise(kernel: Kernel) -> bool:
    """Whether each output channel of the kernel sees a single input channel."""
    return not kernel.input_axes


def is_keras_own(cls: type) -> bool:
    """Whether a class is one of either Keras itself, not of a package or a user."""
    return is_of_keras(cls.__module__)


def _first_of_each(rows: Iterable[Kernel]) -> tuple[Kernel, ...]:
    """Drops later names for the same variable (a layer may have the old and the new one)."""
    by_constraint: dict[str, Kernel] = {}
    for row in rows:
        by_constraint.setdefault(row.constraint, row)
    return tuple(by_constraint.values())


def _einsum_kernel(name: str, equation: str) -> Kernel:
    """Axes of the kernel in `"abc,cd->abd"`: letters in the output are channels, the rest is summed."""
    inputs, output = equation.replace(" ", "").split("->")
    weight = inputs.split(",")[1].replace("...", "")
    axes = [(letter, i - len(weight)) for i, letter in enumerate(weight)]
    channels = tuple(axis for letter, axis in axes if letter in output)
    summed = tuple(axis for letter, axis in axes if letter not in output)
    return Kernel(name, channels, summed)
