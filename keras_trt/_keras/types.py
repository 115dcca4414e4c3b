"""What this library needs of a Keras object, whichever Keras made it.

Neither Keras ships types that a checker could use for both, so these say what public functions take and give.
A function that changes a model gives back the type it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np


class Variable(Protocol):
    """A weight."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> Any:
        """Its shape."""

    @property
    def dtype(self) -> Any:
        """Its element type."""

    @property
    def constraint(self) -> Any:
        """What its numbers are put right by after every update; None or a function."""

    def assign(self, value: object) -> Any:
        """Sets its numbers."""

    def numpy(self) -> np.ndarray:
        """Its numbers."""


class Tensor(Protocol):
    """A tensor: of numbers, or of a graph that is being made."""

    @property
    def shape(self) -> Any:
        """Its shape, as a tuple or a `tf.TensorShape`."""

    @property
    def dtype(self) -> Any:
        """Its element type."""

    def __getitem__(self, places: object) -> Tensor:
        """Some of its entries."""

    def __neg__(self) -> Tensor: ...
    def __add__(self, other: object) -> Tensor: ...
    def __sub__(self, other: object) -> Tensor: ...
    def __mul__(self, other: object) -> Tensor: ...
    def __truediv__(self, other: object) -> Tensor: ...
    def __radd__(self, other: object) -> Tensor: ...
    def __rsub__(self, other: object) -> Tensor: ...
    def __rmul__(self, other: object) -> Tensor: ...
    def __rtruediv__(self, other: object) -> Tensor: ...
    def __lt__(self, other: object) -> Any: ...
    def __le__(self, other: object) -> Any: ...
    def __gt__(self, other: object) -> Any: ...
    def __ge__(self, other: object) -> Any: ...


class Policy(Protocol):
    """In which types a layer keeps its weights and computes."""

    @property
    def name(self) -> str:
        """Its name, e.g. `"mixed_float16"`."""

    @property
    def compute_dtype(self) -> str:
        """The type in which the layer computes."""

    @property
    def variable_dtype(self) -> str:
        """The type of the layer's weights."""


class Layer(Protocol):
    """A layer, or a model, of Keras 3 or tf_keras."""

    built: bool
    trainable: bool

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def weights(self) -> Sequence[Variable]:
        """Its `Variable`s."""

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the numbers of `weights`."""

    def get_config(self) -> Any:
        """What it is made of, as plain data."""

    @classmethod
    def from_config(cls, config: object) -> Any:
        """A new one made of that."""

    def add_weight(self, *args: object, **kwargs: object) -> Variable:
        """Makes a `Variable` of its own."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Computes its outputs; what it takes differs from class to class."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Computes its outputs, as Keras does it."""


class Model(Layer, Protocol):
    """A model of Keras 3 or tf_keras."""

    @property
    def layers(self) -> Sequence[Layer]:
        """Its `Layer`s."""

    def predict(self, *args: object, **kwargs: object) -> Any:
        """Its outputs, batch by batch."""

    def save(self, *args: object, **kwargs: object) -> Any:
        """Writes it to a file."""


M = TypeVar("M", bound=Model)
"""The type of a user's model, which functions that give a changed model give back."""

Choice = str | re.Pattern[str] | type | Layer | Callable[..., bool]
"""Which layers: see `select.selected`."""

Choices = Choice | Sequence[Choice] | set[Choice] | frozenset[Choice]
"""One choice of layers, or several."""
