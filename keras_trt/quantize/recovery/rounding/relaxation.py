"""A kernel that stands between two numbers of its grid, weight by weight, and settles on one of them.

AdaRound's relaxation (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization",
arXiv:2004.10568): a sigmoid that is stretched a little beyond 0 and 1 and cut there says how far up a weight
is, and a penalty whose exponent falls drives it to one of the ends.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from keras_trt._keras.types import Tensor

LOW, HIGH = -0.1, 1.1
"""How far the sigmoid is stretched; it is cut at 0 and 1."""
_ON_GRID = 1e-3  # of a step: a weight as close to a number of the grid stays there


class SoftKernel:
    """One kernel; weights that are on the grid, such as pruned ones and each scale's largest, stay there.

    Args:
        tf: TensorFlow.
        values: The kernel, float32.
        scales: The step of the grid at each weight, > 0, of the same shape.
    """

    def __init__(self, tf: ModuleType, values: np.ndarray, scales: np.ndarray) -> None:
        steps = values.astype(np.float64) / scales
        below = np.floor(steps)
        rest = steps - below
        free = np.minimum(rest, 1 - rest) > _ON_GRID
        self._tf, self._scales = tf, scales
        self._below = np.where(free, below, np.round(steps))
        self._free = free
        inverse = (HIGH - LOW) / (np.clip(rest, 1e-3, 1 - 1e-3) - LOW) - 1
        self.logits = tf.Variable(-np.log(inverse), dtype="float32", trainable=True)
        self._base = tf.constant(self._below * scales, "float32")
        self._up = tf.constant(free * scales, "float32")
        self._mask = tf.constant(free, "float32")

    @property
    def count(self) -> int:
        """How many weights may go up or down."""
        return int(self._free.sum())

    def soft(self) -> Tensor:
        """The kernel as it stands."""
        return self._base + self._up * self._share()

    def unsettled(self, exponent: Tensor) -> Tensor:
        """The sum of how far each weight is from both ends, 0 at them and 1 in the middle."""
        tf = self._tf
        return tf.reduce_sum(self._mask * (1 - tf.abs(2 * self._share() - 1) ** exponent))

    def hard(self) -> np.ndarray:
        """The kernel with each weight at the end that it is nearer to."""
        up = self._free & (self.logits.numpy() > 0)
        return np.asarray((self._below + up) * self._scales, np.float32)

    def _share(self) -> Tensor:
        tf = self._tf
        return tf.clip_by_value(tf.sigmoid(self.logits) * (HIGH - LOW) + LOW, 0.0, 1.0)


class Adam:
    """Kingma and Ba 2015, for a few variables inside a graph; neither Keras takes the other's variables."""

    def __init__(self, tf: ModuleType, variables: list[Any], rate: float) -> None:
        self._tf, self._trained, self._rate = tf, variables, rate
        self._moments = [[tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2)]
        self._steps = tf.Variable(0.0)

    def apply(self, gradients: list[Tensor]) -> None:
        """Moves the variables by one step."""
        tf, decay = self._tf, (0.9, 0.999)
        count = self._steps.assign_add(1.0)
        size = self._rate * tf.sqrt(1 - decay[1] ** count) / (1 - decay[0] ** count)
        for variable, gradient, mean, square in zip(self._trained, gradients, *self._moments, strict=True):
            mean.assign(decay[0] * mean + (1 - decay[0]) * gradient)
            square.assign(decay[1] * square + (1 - decay[1]) * gradient**2)
            variable.assign_sub(size * mean / (tf.sqrt(square) + 1e-7))
