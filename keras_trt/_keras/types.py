"""What this library needs of a Keras object, whichever Keras made it.

Neither Keras ships types that a checker could use for both, so these say what public functions take and give.
A function that changes a model gives back the type it was given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar


class Variable(Protocol):
    """A weight."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> Any:
        """Its shape."""

    def assign(self, value: Any) -> Any:
        """Sets its numbers."""

    def numpy(self) -> Any:
        """Its numbers."""


class Layer(Protocol):
    """A layer, or a model, of Keras 3 or tf_keras."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def weights(self) -> Sequence[Any]:
        """Its `Variable`s."""

    def get_config(self) -> Any:
        """What it is made of, as plain data."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Computes its outputs."""


class Model(Layer, Protocol):
    """A model of Keras 3 or tf_keras."""

    @property
    def layers(self) -> Sequence[Any]:
        """Its `Layer`s."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Its outputs, batch by batch."""

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Writes it to a file."""


M = TypeVar("M", bound=Model)
"""The type of a user's model, which functions that give a changed model give back."""
