"""By what the channels of a group of tensors are divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_trt._keras.calls.gathering import gathering, give
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt.quantize.recovery.channel_groups import ChannelGroup
from keras_trt.twins.fake_quant import TINY
from keras_trt.twins.quantizer import observing
from keras_trt.twins.types import Quantizer

EXPONENTS: tuple[float | None, ...] = (None, 0.3, 0.5, 0.7, 0.85, 1.0)
"""What is tried; None leaves the channels as they are."""
_SMALLEST = 1 / 32  # of the middle channel's size
_ABOVE = 1.05  # of the largest value seen, below a cap


@dataclass
class _Maxima:
    """The largest magnitude of each channel."""

    values: Any = field(default=0.0)

    def add(self, values: np.ndarray) -> None:
        """Counts in a batch."""
        self.values = np.maximum(self.values, values)


def channel_maxima(
    flavor: Flavor, model: Model, groups: Sequence[ChannelGroup], batches: Sequence[object]
) -> dict[int, np.ndarray]:
    """The largest magnitude of each channel of each rounded tensor, by the quantiser's identity."""
    tf = flavor.tf
    seen = {key: _Maxima() for group in groups for key in group.quantizers}
    with gathering(seen) as numbers:

        def observe(quantizer: Quantizer, x: Tensor) -> None:
            if id(quantizer) in numbers:
                give(
                    flavor,
                    numbers[id(quantizer)],
                    tf.reduce_max(tf.abs(x), axis=tuple(range(x.shape.rank - 1))),
                )

        def run(batch: object) -> None:
            with observing(observe, in_float, corrected=False):
                model(batch, training=False)

        graphs = as_graphs(flavor, run)
        for batch in batches:
            graphs(batch)
    return {key: np.asarray(each.values, np.float64) for key, each in seen.items()}


def in_float(layer: Layer, floats: Tensor, rounded: Tensor) -> Tensor:
    """The kernel that a layer has in float, for `observing`."""
    return floats


def channel_factors(group: ChannelGroup, exponent: float | None, maxima: dict[int, np.ndarray]) -> np.ndarray:
    """What the channels of a group are divided by, of shape (channels,).

    `amax ** exponent / wmax ** (1 - exponent)` (Xiao et al. 2023, equation 4).
    """
    folded = [maxima[key].reshape(-1, group.channels).max(0) for key in group.quantizers]
    amax = np.asarray(np.max(folded, axis=0))
    if exponent is None or not np.isfinite(amax).all() or not amax.any():
        return np.ones_like(amax)
    amax = _no_less(amax)
    if group.caps:
        return np.asarray(np.minimum(1.0, _ABOVE * amax / min(group.caps)) ** exponent)
    factors = amax**exponent / _no_less(_largest_weights(group)) ** (1 - exponent)
    return np.asarray(factors * np.max(amax / factors) / amax.max())  # the tensor stays as large as it was


def _no_less(sizes: np.ndarray) -> np.ndarray:
    """Sizes with small ones made larger: a channel that is rarely there may be so in other data."""
    return np.maximum(sizes, _SMALLEST * np.median(sizes[sizes > 0]))


def _largest_weights(group: ChannelGroup) -> np.ndarray:
    """The largest weight that each channel meets, as a share of its output's largest: what a grid sees."""
    largest = np.zeros(group.channels)
    for sides in group.readers.values():
        if sides.channels:
            kernel = np.abs(np.asarray(sides.reads[0].variable, np.float64))
            (read,), outputs = sides.reads[0].axes, {axis % kernel.ndim for axis in sides.channels}
            summed = tuple(axis for axis in range(kernel.ndim) if axis not in outputs)
            share = kernel / np.maximum(kernel.max(axis=summed, keepdims=True), TINY)
            others = tuple(axis for axis in range(kernel.ndim) if axis != read % kernel.ndim)
            largest = np.maximum(largest, share.max(axis=others).reshape(-1, group.channels).max(0))
    return largest if largest.any() else np.ones(group.channels)
