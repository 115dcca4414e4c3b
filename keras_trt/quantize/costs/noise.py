"""How much noise rounding leaves at a model's outputs: of all layers together, and of some alone."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt.quantize.inventory import quantizers_of, twins
from keras_trt.twins.quantizer import observing, rounded_in_range

Outputs = list[np.ndarray]


class RoundingNoise:
    """Runs a calibrated model on a few rows, any of its layers rounded and the others in float.

    Which layers are rounded is an input of one traced graph: a trial costs one run and changes nothing.

    Args:
        flavor: The model's Keras.
        model: A quantised model whose ranges are known.
        rows: One batch of inputs.

    Attributes:
        layers: Paths of the layers that round something, with the format of their activations.
        measurable: Whether there is anything to compare: floats that are finite and the same at each run.
    """

    def __init__(self, flavor: Flavor, model: Model, rows: object) -> None:
        own = [(path, layer) for path, layer in twins(flavor, model) if layer.quantization.own]
        self.layers = {path: layer.quantization.scheme.activations for path, layer in own}
        self._rows, self._ops = rows, flavor.ops
        self._run = _traced(flavor, model, [layer for _, layer in own])
        self._exact = self.outputs((), rows)
        again = self.outputs((), rows)
        self._measured = [i for i, y in enumerate(self._exact) if np.isfinite(y).all() and y.any()]
        self.measurable = bool(self._measured) and all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(self._exact, again, strict=True)
        )

    def sqnr(self, rounded: Collection[str]) -> float:
        """The ratio of signal to rounding noise, in dB, at the output where it is smallest.

        `10 log10(sum(y**2) / sum((y_rounded - y)**2))`, infinite where nothing has changed.

        Args:
            rounded: Paths of the layers that round; the others compute in float.
        """
        worst = self._worst(rounded)
        if worst == 0:
            return math.inf
        return -10 * math.log10(worst) if worst < math.inf else -math.inf

    def saturation(self) -> float:
        """How much of each output's energy lies in ones, at the output where that is least; 0 beside others.

        Behind a sigmoid or softmax that is sure of its rows the noise of the layers before it hardly shows.
        """
        return min(map(_saturated, (self._exact[i] for i in self._measured)))

    def costliest(self, among: Sequence[str]) -> Iterator[tuple[str, float]]:
        """The layers by what the outputs keep, in dB, where each alone is rounded; costliest first.

        Noises of layers add up, nearly. So layers are measured in groups, and the noisiest group is cut into
        halves until it is one layer: some dozens of runs for the first few, however many layers there are.

        Args:
            among: Paths to look through.
        """
        order = itertools.count()  # no comparison of groups where noises are equal
        groups = [(self.sqnr(among), next(order), tuple(among))] if among else []
        while groups:
            sqnr, _, group = heapq.heappop(groups)
            if len(group) == 1:
                yield group[0], sqnr
                continue
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                heapq.heappush(groups, (self.sqnr(half), next(order), half))

    def outputs(self, rounded: Collection[str], rows: object) -> Outputs:
        """The floating outputs on a batch, some layers rounded.

        Args:
            rounded: Paths of the layers that round; the others compute in float.
            rows: A batch of inputs.
        """
        on = np.array([path in rounded for path in self.layers], bool)
        return [self._ops.to_numpy(y).astype(np.float64) for y in self._run(rows, on)]

    def _worst(self, rounded: Collection[str]) -> float:
        """The largest ratio of noise to signal of the outputs; infinite where rounding makes one NaN."""
        outputs = self.outputs(rounded, self._rows)
        return max(_ratio(outputs[i], self._exact[i]) for i in self._measured)


def _saturated(exact: np.ndarray) -> float:
    """The share of the energy that lies within 0.001 of one, of values from zero to one."""
    if exact.min() < 0 or exact.max() > 1:
        return 0.0
    return float(np.square(exact[exact > 0.999]).sum() / np.square(exact).sum())


def _ratio(outputs: np.ndarray, exact: np.ndarray) -> float:
    if outputs.shape != exact.shape or not np.isfinite(outputs).all():
        return math.inf
    return float(np.square(outputs - exact).sum() / np.square(exact).sum())


def _traced(flavor: Flavor, model: Model, layers: Sequence[Any]) -> Any:
    """The model's floating outputs as one graph of (rows, which layers round)."""
    ops = flavor.ops
    position = {id(member): i for i, layer in enumerate(layers) for member in (layer, *quantizers_of(layer))}

    def run(rows: Any, on: Any) -> list[Any]:
        def activation(quantizer: Any, x: Tensor) -> Tensor:
            return rounded_in_range(flavor, quantizer, x, on[position[id(quantizer)]])

        def weight(layer: Layer, floats: Tensor, quantized: Tensor) -> Tensor:
            return ops.where(on[position[id(layer)]], quantized, floats)

        with observing(activation, weight, weight):
            outputs = ops.flat_tensors(model(rows, training=False))
        return [y for y in outputs if ops.is_float(y)]

    return as_graphs(flavor, run)
