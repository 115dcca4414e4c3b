"""Which weights of a layer take in a factor for each channel of what it reads, or of what it makes.

`Dense(x / s)` with its kernel times `s` along the inputs is `Dense(x)`; a kernel and a bias divided by `s`
along the outputs make it give `Dense(x) / s`. A pure table, of Keras's own layers only: what a `call` of
somebody else's does with its weights is not known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.graph import BATCHNORMS
from keras_trt._keras.kernels import CONVOLUTIONS, Kernel, is_depthwise, is_keras_own, kernels_of
from keras_trt._keras.masks.masking import variable_of
from keras_trt._keras.types import Layer, Variable
from keras_trt.twins.twins import float_class, is_twin

_NORMALISATIONS = ("LayerNormalization", "RMSNormalization", "GroupNormalization")
_KNOWN = frozenset({*_NORMALISATIONS, *BATCHNORMS, *CONVOLUTIONS, "Dense", "EinsumDense"})


@dataclass(frozen=True)
class Factor:
    """How one weight takes in the factors of channels.

    Attributes:
        variable: The weight.
        axes: The axes along which the channels run, the outer one first, counted from the last.
        power: The weight is multiplied by the factors to this power.
    """

    variable: Variable
    axes: tuple[int, ...]
    power: int

    def shaped(self, factors: np.ndarray) -> np.ndarray:
        """The factors in a shape that multiplies the weight; repeated where it has more channels."""
        shape, rank = [1] * len(self.variable.shape), len(self.variable.shape)
        sizes = [int(self.variable.shape[axis]) for axis in self.axes]
        for axis, size in zip(self.axes, sizes, strict=True):
            shape[axis % rank] = size
        return np.tile(factors, int(np.prod(sizes)) // len(factors)).reshape(shape)

    def taken_in(self, value: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """What the weight becomes, of what it is."""
        return np.asarray(value * self.shaped(factors) ** self.power)


@dataclass(frozen=True)
class Slope(Factor):
    """A batch normalisation's gamma behind inputs that are divided, as their mean and variance are.

    Those undo the factors in training, too, when they come from the batch; all that is left to gamma is
    epsilon, which nobody divides.

    Attributes:
        variance: The moving variance, read before it takes in factors itself.
        epsilon: What is added to it.
    """

    variance: Variable
    epsilon: float

    def taken_in(self, value: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """What gamma becomes, of what it is."""
        variance = np.asarray(self.variance, np.float64)
        divided = variance + self.epsilon * self.shaped(factors) ** 2
        return np.asarray(value * np.sqrt(divided / (variance + self.epsilon)))


@dataclass(frozen=True)
class Sides:
    """What a layer can take in.

    Attributes:
        kind: The class it is of, as Keras names it.
        reads: The weights that undo a division of its input by the factors; empty where it cannot.
        makes: The weights that divide its output by the factors; empty where it cannot.
        cap: Where its activation stops growing, as ReLU6 does at 6; None where it does not.
        channels: The axes of the output channels in the weight that `reads` begins with; empty for one that
            is no kernel.
    """

    kind: str
    reads: tuple[Factor, ...] = ()
    makes: tuple[Factor, ...] = ()
    cap: float | None = None
    channels: tuple[int, ...] = ()


def sides_of(flavor: Flavor, layer: Layer, rank: int) -> Sides | None:
    """What a built layer can take in, called on a tensor of so many axes; None where that is nothing."""
    kind = _kind(float_class(layer))
    if kind is None or not layer.built or getattr(layer, "lora_enabled", False):
        return None
    if kind in (*_NORMALISATIONS, *BATCHNORMS):
        return _normalisation(layer, kind, rank)
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    return _product(flavor, layer, kind)


def _kind(cls: type) -> str | None:
    """The class of Keras's own whose `call` a layer class has, where the table knows it."""
    caller = next((each for each in cls.__mro__ if "call" in vars(each)), None)
    if caller is None or not is_keras_own(caller):
        return None
    names = (each.__name__ for each in cls.__mro__ if is_keras_own(each))
    return next((name for name in names if name in _KNOWN), None)


def _normalisation(layer: Any, kind: str, rank: int) -> Sides | None:
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
    gamma = layer.scale if kind == "RMSNormalization" else layer.gamma
    if gamma is None or [axis % rank for axis in axes] != [rank - 1]:
        return None
    beta = getattr(layer, "beta", None)
    makes = tuple(Factor(v, (-1,), -1) for v in (gamma, beta) if v is not None)
    if kind not in BATCHNORMS:
        return Sides(kind, makes=makes)
    slope = Slope(gamma, (-1,), 1, layer.moving_variance, layer.epsilon)
    reads = slope, Factor(layer.moving_mean, (-1,), -1), Factor(layer.moving_variance, (-1,), -2)
    return Sides(kind, reads, makes)


def _product(flavor: Flavor, layer: Any, kind: str) -> Sides | None:
    rows = kernels_of(layer)
    variables = [variable_of(layer, row) for row in rows]
    if not variables or any(v is None for v in variables):
        return None
    read, made = _einsum_axes(layer.equation) if kind == "EinsumDense" else _axes(layer, rows)
    homogeneous, cap = _activation(flavor, layer)
    bias = vars(layer).get("bias") if is_twin(layer) else layer.bias
    reads = (Factor(variables[0], read, 1),) if read else ()
    makes: tuple[Factor, ...] = ()
    width = math.prod(int(variables[-1].shape[axis]) for axis in made)
    if made and homogeneous and (bias is None or int(bias.shape[-1]) == width):  # einsums may share a bias
        makes = (Factor(variables[-1], made, -1), *(() if bias is None else (Factor(bias, (-1,), -1),)))
        if is_twin(layer) and layer.quantization.shift:
            makes += (Factor(layer.quantization_switch.shift, (-1,), -1),)
    return Sides(kind, reads, makes, cap, rows[0].channel_axes)


def _axes(layer: Layer, rows: Sequence[Kernel]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the input and the output channels run in the first and in the last kernel."""
    first, made = rows[0], rows[-1].channel_axes
    if len(rows) > 1:  # a separable convolution's first product is rounded on its way to the other one
        return (), made
    if is_depthwise(first):
        return first.channel_axes[:1], made
    return first.input_axes if getattr(layer, "groups", 1) == 1 else (), made


def _einsum_axes(equation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The kernel's axes of the last letters of the input and of the output; none for letters of both."""
    inputs, output = equation.replace(" ", "").replace("...", "").split("->")
    read, kernel = inputs.split(",")

    def axes(letter: str, other: str) -> tuple[int, ...]:
        once = kernel.count(letter) == 1 and letter not in other
        return (kernel.index(letter) - len(kernel),) if once else ()

    return axes(read[-1], output), axes(output[-1], read)


def _activation(flavor: Flavor, layer: Layer) -> tuple[bool, float | None]:
    """Whether a positive factor passes through a layer's activation, and where that stops growing."""
    own, known = getattr(layer, "activation", None), flavor.keras.activations
    if own is None:
        return True, None
    passing: Sequence[str] = ("linear", "relu", "leaky_relu")
    if any(own is getattr(known, name, None) for name in passing):
        return True, None
    return own is getattr(known, "relu6", object()), 6.0
