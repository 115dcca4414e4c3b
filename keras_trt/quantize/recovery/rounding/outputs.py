"""What a layer returns with kernels of several kinds: exact, the nearest on the grid, others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_trt._keras.calls.graphs import as_graphs
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Tensor
from keras_trt.quantize.recovery.correction import before_activation
from keras_trt.quantize.recovery.rounding.relaxation import SoftKernel
from keras_trt.quantize.recovery.rounding.samples import Sample
from keras_trt.twins.quantizer import observing, rounded_in_range


class Outputs:
    """What a layer returns, before its activation, with kernels of several kinds."""

    def __init__(self, flavor: Flavor, layer: Layer, like: Sample, soft: dict[Any, SoftKernel]) -> None:
        self._flavor, self._layer, self._soft = flavor, layer, soft
        self._hard: dict[Any, Any] = {}
        self._like = like.given
        self.graphs: dict[str, Any] = {
            kind: as_graphs(flavor, lambda *tensors, kind=kind: self.compute(kind, tensors))
            for kind in ("exact", "nearest", "soft", "hard")
        }

    def tensors(self, sample: Sample) -> list[Any]:
        """The tensors that a call was given."""
        return [x for x in self._flavor.ops.nest.flatten(sample.given) if self._flavor.ops.is_tensor(x)]

    def of(self, sample: Sample, kind: str) -> Any:
        """Of one call, with kernels that are `"exact"`, `"nearest"`, `"soft"` or `"hard"`."""
        return self.graphs[kind](*self.tensors(sample))

    def error(self, sample: Sample, kind: str) -> float:
        """The mean square of what is lost to float."""
        return float(np.mean(np.square(self.of(sample, kind).numpy() - sample.exact.numpy())))

    def settle(self, hard: dict[Any, np.ndarray]) -> None:
        """Says what the hard kernels are."""
        self._hard = {shape: self._flavor.ops.constant(value, "float32") for shape, value in hard.items()}

    def compute(self, kind: str, tensors: Sequence[Tensor]) -> Tensor:
        """The same inside a graph, of the tensors of a call."""
        flavor, ops, given = self._flavor, self._flavor.ops, iter(tensors)
        leaves = ops.nest.flatten(self._like)
        filled = [next(given) if ops.is_tensor(x) else x for x in leaves]
        args, options = ops.nest.pack_sequence_as(self._like, filled)

        def activation(quantizer: Any, x: Tensor) -> Tensor | None:
            return None if kind == "exact" else rounded_in_range(flavor, quantizer, x)

        def kernel(layer: Layer, floats: Tensor, on_grid: Tensor) -> Tensor:
            shape = tuple(floats.shape)
            if layer is not self._layer or kind == "exact" or shape not in self._soft:
                return floats
            return {
                "nearest": lambda: on_grid,
                "soft": self._soft[shape].soft,
                "hard": lambda: self._hard[shape],
            }[kind]()

        with observing(activation, kernel, corrected=False), before_activation(self._layer) as seen:
            seen.append(self._layer(*args, **options))
        return ops.cast(seen[0], "float32")
