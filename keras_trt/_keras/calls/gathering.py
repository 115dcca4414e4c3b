"""Lets the tensors of a graph run into objects of Python, batch by batch.

TensorFlow keeps every function given to `numpy_function` alive for ever, and with it what it refers to: so it
gets one function that refers to nothing, and the objects are known by numbers while they are filled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor

Key = TypeVar("Key")


class Gatherer(Protocol):
    """What takes the values of a tensor; TensorFlow may run several calls side by side."""

    def add(self, values: np.ndarray) -> None:
        """Takes an array of any shape."""
        ...


_FILLING: dict[int, Gatherer] = {}
_NUMBERS = itertools.count()


@contextmanager
def gathering(gatherers: Mapping[Key, Gatherer]) -> Iterator[dict[Key, int]]:
    """While open, `give` fills these objects; yields their numbers by key."""
    numbers = {key: next(_NUMBERS) for key in gatherers}
    _FILLING.update((number, gatherers[key]) for key, number in numbers.items())
    try:
        yield numbers
    finally:
        for number in numbers.values():
            del _FILLING[number]


def give(flavor: Flavor, number: int, tensor: Tensor) -> None:
    """Gives a tensor's values, when the graph that is built now runs, to the object of a number."""
    flavor.ops.give(_add, number, tensor)


def _add(number: np.ndarray, values: np.ndarray) -> None:
    gatherer = _FILLING.get(int(number))
    if gatherer is not None:
        gatherer.add(values)
