"""Where a search for the highest sparsity has come to, stored with the model that is searched.

A layer of its own inside the first pruned layer, without weights: what Keras's files and TensorFlow's
checkpoints store of it is the search and the weights of the level that was accepted last.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from typing import Any, Protocol

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Layer, Model

_ATTRIBUTE = "pruning_search"  # of the layer that holds it; Keras's files address it so


def search_state(flavor: Flavor, layer: Layer) -> Any:
    """The state that a layer holds, made if there is none."""
    held = vars(layer).get(_ATTRIBUTE)
    if held is None:
        held = _state_class(flavor)(name=f"{layer.name}_{_ATTRIBUTE}")
        held.build(())
        with flavor.unlocked(layer):
            setattr(layer, _ATTRIBUTE, held)
    return held


def searched(flavor: Flavor, model: Model) -> Any:
    """The first layer whose mask says that a metric decides on it, or None."""
    for _, layer, _, variable in masking.weights_in(flavor, model):
        constraint = masking.constraint_of(flavor, variable)
        if constraint is not None and constraint.info.get("monitor"):
            return layer
    return None


def forget_search(flavor: Flavor, model: Model) -> None:
    """Takes the state out of a model again."""
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        held = vars(layer).get(_ATTRIBUTE)
        if held is not None:
            with flavor.unlocked(layer):
                flavor.forget_sublayers(layer, [held])
                delattr(layer, _ATTRIBUTE)


class _Owner(Protocol):
    """The layer whose state is stored."""

    def arrays(self) -> Iterable[tuple[str, Any]]:
        """The state, by name."""

    def take(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts the state back."""


@functools.cache
def _stored_class() -> type:
    import tensorflow as tf

    class Stored(tf.train.experimental.PythonState):
        """The same for TensorFlow's checkpoints."""

        def __init__(self, owner: _Owner) -> None:
            super().__init__()
            self.owner = owner

        def serialize(self) -> bytes:
            file = BytesIO()
            np.savez(file, **dict(self.owner.arrays()))
            return file.getvalue()

        def deserialize(self, string: bytes) -> None:
            with np.load(BytesIO(string), allow_pickle=False) as arrays:
                self.owner.take(arrays)

    return Stored


@functools.cache
def _state_class(flavor: Flavor) -> type:
    class PruningSearch(flavor.keras.layers.Layer):  # type: ignore[name-defined]
        """Holds `search`, numbers by their names, and `accepted`, the weights of the accepted level."""

        is_keras_trt_quantizer = True  # hidden from `walk`, as the library's other inner layers

        def build(self, input_shape: object = None) -> None:
            self.remember(None, None)
            if flavor.has_graphs:
                self._track_trackable(_stored_class()(self), name="state", overwrite=True)
            self.built = True

        def call(self, x: object) -> Any:
            return x

        def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
            if self.search is not None:
                yield "search", np.frombuffer(json.dumps(self.search).encode(), np.uint8)
                for i, value in enumerate(self.accepted or ()):
                    yield f"accepted_{i}", np.asarray(value)

        def take(self, arrays: Any) -> None:
            names = list(arrays.keys())
            if "search" not in names:
                return
            count = sum(name.startswith("accepted_") for name in names)
            accepted = [np.array(arrays[f"accepted_{i}"]) for i in range(count)]
            search = json.loads(np.array(arrays["search"]).tobytes())
            self.remember(search, accepted or None)

        def remember(self, search: object, accepted: object) -> None:
            """Sets what is stored, past Keras's tracking of lists and dictionaries."""
            self.__dict__.update(search=search, accepted=accepted)

        def save_own_variables(self, store: Any) -> None:
            for name, value in self.arrays():
                store[name] = value

        def load_own_variables(self, store: object) -> None:
            self.take(store)

    return PruningSearch
