"""Making twin classes known to a Keras before it reads a file that names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keras_trt._base.kerases import is_of_keras
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import KERNELS, registered_classes
from keras_trt._keras.rebuilding.named_classes import entries, find_layer_class
from keras_trt._machine.process import alone
from keras_trt.errors import InputError
from keras_trt.placement.placement import ATTENTION, RULES
from keras_trt.twins.quantizer import activation_quantizer
from keras_trt.twins.twins import twin_class

Base = tuple[str, str, str]
"""What is known of a class in a file: its module, qualified name and registered name."""


def register(
    flavor: Flavor, config: object = None, custom_objects: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Registers the twins of one Keras's layers, and of the custom classes that a config names.

    Args:
        flavor: The Keras that will load.
        config: A model's config as JSON data; its twins say which class they are twins of.
        custom_objects: Classes by name, for those that are not registered.

    Returns:
        The classes by name that the config means, whatever is registered under these names: load it inside
        `deciding`.

    Raises:
        ModelError: A custom class that the config names is not known here.
    """
    activation_quantizer(flavor)
    for name in {*KERNELS, *RULES, *ATTENTION}:
        cls = getattr(flavor.keras.layers, name, None)
        if isinstance(cls, type):
            twin_class(cls)
    for cls in registered_classes():
        if issubclass(cls, flavor.keras.layers.Layer):
            twin_class(cls)
    by_name: dict[str, dict[Base, Any]] = {}
    for name, known in _twins(config):
        own = is_of_keras(known[0])  # a custom `Dense` is another class
        base = find_layer_class(flavor, *known, {} if own else custom_objects or {})
        by_name.setdefault(name, {})[known] = twin_class(getattr(base, "_float_class", None) or base)
    return {**(custom_objects or {}), **{name: _one_of(twins) for name, twins in by_name.items()}}


@contextmanager
def deciding(flavor: Flavor, objects: Mapping[str, object]) -> Iterator[None]:
    """While open, names in a file mean these classes.

    Keras itself, from a model's second level on, looks at `custom_objects` after what is registered.
    """
    with alone():
        known = flavor.keras.saving.get_custom_objects()
        before = {name: known[name] for name in objects if name in known}
        try:
            known.update(objects)
            yield
        finally:
            for name in objects.keys() - before.keys():
                known.pop(name, None)
            known.update(before)


def _twins(config: object) -> Iterator[tuple[str, Base]]:
    """The twins in a config: the name each bears there, and what it is the twin of."""
    for entry in entries(config):
        inner = entry.get("config")
        known = inner.get("quantization") if isinstance(inner, dict) else None
        base = known.get("base") if isinstance(known, dict) else None
        if base is None:
            continue
        name = entry.get("registered_name") or entry.get("class_name")
        if not (isinstance(base, list) and len(base) == 3 and all(isinstance(t, str) for t in (*base, name))):
            raise InputError(
                f"The base of a quantised layer is three names: its module, its name and the name it is "
                f"registered under. Received: {base!r} in layer {name!r}"
            )
        yield str(name), (base[0], base[1], base[2])


def _one_of(twins: dict[Base, Any]) -> Any:
    """The class that one name in a file means; earlier versions gave one name to all `Block`s."""
    if len(set(twins.values())) == 1:
        return next(iter(twins.values()))

    class OneOf:
        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return twins[tuple(config["quantization"]["base"])].from_config(config)

    return OneOf
