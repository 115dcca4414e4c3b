"""Which channels of a layer's input one grid for all of them loses."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_trt._base.formats import INT8_ENDS, TOP
from keras_trt._keras.calls.gathering import gathering, give
from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import channel_axis
from keras_trt._keras.types import Model, Tensor
from keras_trt.quantize.inventory import twins
from keras_trt.twins.quantizer import observing
from keras_trt.twins.types import Quantizer

FLOOR = 10.0
"""In dB: the values of such a channel are about one step in size."""


@dataclass
class ChannelNoise:
    """What int8 leaves of each channel of a tensor.

    Attributes:
        amax: The range of the grid.
        axis: The axis of the channels.
    """

    amax: float
    axis: int = -1
    _signal: Any = field(default=0.0, repr=False)
    _noise: Any = field(default=0.0, repr=False)

    def add(self, values: np.ndarray) -> None:
        """Counts in a batch."""
        x = np.moveaxis(values, self.axis, -1).astype(np.float64)
        step = self.amax / TOP["int8"]
        rounded = np.clip(np.round(x / step), *INT8_ENDS) * step
        others = tuple(range(x.ndim - 1))
        self._signal = self._signal + np.square(x).sum(axis=others)
        self._noise = self._noise + np.square(rounded - x).sum(axis=others)

    def __str__(self) -> str:
        signal, noise = np.atleast_1d(self._signal), np.atleast_1d(self._noise)
        lost = np.flatnonzero((signal > 0) & (noise * 10 ** (FLOOR / 10) > signal))
        if not len(lost):
            return ""
        return (
            f"; the grid of its input, which reaches {self.amax:.3g}, leaves less than {FLOOR:g} dB of "
            f"{len(lost)} of {len(signal)} channels ({_runs(lost)})"
        )


def lost_channels(flavor: Flavor, model: Model, rows: object, paths: Collection[str]) -> dict[str, str]:
    """What to say of the channels of layers' inputs that their grids lose, by path; empty for none.

    Args:
        flavor: The model's Keras.
        model: A quantised model whose ranges are known; it runs in float.
        rows: One batch of inputs.
        paths: Of layers whose activations are int8.
    """
    layers: dict[str, Any] = {path: layer for path, layer in twins(flavor, model) if path in set(paths)}
    seen, keys = {}, {}
    for path, layer in layers.items():
        for quantizer in layer.input_quantizers[:1]:
            seen[path] = ChannelNoise(float(flavor.array(quantizer.amax)), channel_axis(layer))
            keys[id(quantizer)] = path
    with gathering(seen) as numbers:

        def observe(quantizer: Quantizer, x: Tensor) -> None:
            if id(quantizer) in keys:
                give(flavor, numbers[keys[id(quantizer)]], x)

        def run(batch: object) -> None:
            with observing(observe):
                model(batch, training=False)

        if seen:
            as_graphs(flavor, run)(rows)
    return {path: str(noise) for path, noise in seen.items()}


def _runs(channels: np.ndarray, most: int = 3) -> str:
    """Numbers as runs, `0 to 3, 7`."""
    runs = [
        [int(c) for _, c in group]
        for _, group in itertools.groupby(enumerate(channels), lambda pair: pair[1] - pair[0])
    ]
    told = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs[:most]]
    return ", ".join(told) + (", ..." if len(runs) > most else "")
