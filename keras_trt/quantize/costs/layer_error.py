"""How much rounding changes what a layer returns, summed over the calls of a graph."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from keras_trt._keras.calls.gathering import give
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor


@dataclass
class ErrorSums:
    """What rounding changes and what that is measured by, as sums; several threads may add to them."""

    values: np.ndarray = field(default_factory=lambda: np.zeros(2))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, values: np.ndarray) -> None:
        """Counts in a call."""
        with self._lock:
            self.values = self.values + values

    def take(self) -> float:
        """The ratio of both since the last time; infinite where a sum has overflowed."""
        (noise, measure), self.values = self.values, np.zeros(2)
        if not np.isfinite([noise, measure]).all():
            return math.inf
        return float(noise / measure) if measure > 0 else 0.0


class Twice:
    """Has layers compute twice in each call, rounded and exact, and gives what that changes.

    Args:
        flavor: The model's Keras.
        numbers: Of the `ErrorSums` to fill, by the paths of the layers (see `gathering`).

    Attributes:
        rounding: The path of the layer that computes rounded at the moment; None while all is exact.
    """

    def __init__(self, flavor: Flavor, numbers: Mapping[Any, int]) -> None:
        self.rounding: str | None = None
        self._flavor, self._numbers = flavor, numbers

    def __call__(self, path: str, call: Callable[..., object]) -> Callable[..., Any]:
        """The call of a layer, for `replaced_calls`."""

        def measured(*args: object, **options: object) -> Any:
            if path not in self._numbers or self.rounding is not None:
                return call(*args, **options)
            self.rounding = path
            rounded = call(*args, **options)
            self.rounding = None
            exact = call(*args, **options)
            give(self._flavor, self._numbers[path], _noise_and_signal(self._flavor.ops, rounded, exact))
            return exact

        return measured


def _noise_and_signal(ops: ModuleType, rounded: object, exact: object) -> Tensor:
    """Sums of squares, of all floats that a layer returns."""
    pairs = [
        (ops.cast(a, "float32"), ops.cast(b, "float32"))
        for a, b in zip(ops.nest.flatten(rounded), ops.nest.flatten(exact), strict=True)
        if b is not None and ops.is_float(b)
    ]
    noise = sum(ops.sum(ops.square(a - b)) for a, b in pairs)
    return ops.stack([noise, sum(ops.sum(ops.square(b)) for _, b in pairs)])
