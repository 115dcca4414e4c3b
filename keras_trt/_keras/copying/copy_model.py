"""The copy of a model or of a layer, and its check."""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any, Protocol

from keras_trt._base.kerases import is_of_keras
from keras_trt._keras.copying import tensorflow
from keras_trt._keras.copying.builtin import KINDS
from keras_trt._keras.copying.instance import Instance, slots_of
from keras_trt._keras.copying.walk import Copier, Kind
from keras_trt._keras.types import Layer, M, Model
from keras_trt._machine.process import alone
from keras_trt.errors import ModelError

# What belongs to the language or to a library is shared and not looked into, but for what is named above.
_SHARED = sys.stdlib_module_names | {"tensorflow", "numpy", "jax", "torch", "google", "absl", "wrapt"}
WAY_OUT = "With `copy=False` the model itself is changed and returned."
_PLAIN = (int, float, complex, str, bytes, type, types.ModuleType, enum.Enum)


class Walked(Protocol):
    """What a copy asks of a flavour."""

    def copy_kinds(self) -> Iterable[tuple[type, Kind[Any]]]:
        """The classes that are copied in a way of their own."""

    def walk(self, model: Model) -> Iterable[tuple[str, Any]]:
        """Every layer inside a model, with its path."""


def kind_of(special: Iterable[tuple[type, Kind[Any]]]) -> Callable[[object], Kind[Any] | None]:
    """The function that tells how an object is copied; None: it is shared."""
    listed = (*special, *(tensorflow.kinds() if "tensorflow" in sys.modules else ()))

    @functools.cache
    def kind_of_class(cls: Any) -> Kind[Any] | None:
        if cls in KINDS:
            return KINDS[cls]
        if issubclass(cls, _PLAIN):
            return None
        match = next((kind for base, kind in listed if issubclass(cls, base)), None)
        if match is None:
            match = next((kind for base, kind in KINDS.items() if base in cls.__mro__), None)
        if match is not None:
            return match
        if any(is_of_keras(base.__module__) for base in cls.__mro__):
            return Instance(follows=True)
        if cls.__module__.split(".")[0] in _SHARED or not (cls.__dictoffset__ or slots_of(cls)):
            return None
        return Instance()

    classes: Callable[[Any], Kind[Any] | None] = kind_of_class
    return lambda obj: classes(type(obj))


def copy_layers(flavor: Walked, model: Model) -> Callable[[Any], Any]:
    """A function that gives the copy of each layer of a model, with its weights, to be called in a new graph.

    What the layers share, their copies share.

    Raises:
        ModelError: Something in the model cannot be copied.
    """
    copier = Copier(kind_of(flavor.copy_kinds()))
    with alone():  # no layer is as another thread needs it for a while
        copier.copy(model)

    def copied(layer: Layer) -> Layer:
        new: Any = copier(layer)
        list.clear(new._inbound_nodes)
        list.clear(new._outbound_nodes)
        return new

    return copied


def copy_model(flavor: Walked, model: M) -> M:
    """A copy of a model, not compiled, that shares no layer and no variable with it; checked.

    Raises:
        ModelError: Something in it cannot be copied.
    """
    copier = Copier(kind_of(flavor.copy_kinds()))
    try:
        with alone():  # as in `copy_layers`
            copy = copier.copy(model)
        _check(flavor, copier, model, copy)
    except ModelError as e:
        raise ModelError(
            f"Model {model.name!r} ({type(model).__name__}) cannot be copied: {e} {WAY_OUT}"
        ) from e
    return copy


def _check(flavor: Walked, copier: Copier, model: Model, copy: Model) -> None:
    """Every layer and every weight of the copy is, at its place, the copy of the model's own."""
    layers, news = ([m, *(layer for _, layer in flavor.walk(m))] for m in (model, copy))
    for old, new in zip_longest(layers, news):
        if old is None or copier.made(old) is not new or new is None:
            raise ModelError(f"Layer {getattr(old, 'name', None)!r} has no copy at its place.")
        if type(old) is not type(new) or old.trainable != new.trainable:
            raise ModelError(f"The copy of layer {old.name!r} ({type(old).__name__}) is another layer.")
    for kind in ("trainable_weights", "non_trainable_weights"):
        for old, new in zip_longest(getattr(model, kind), getattr(copy, kind)):
            if new is None or copier.made(old) is not new:
                raise ModelError(f"Weight {getattr(old, 'name', None)!r} has no copy at its place.")
