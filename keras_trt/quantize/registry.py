"""Making twin classes known to a Keras before it reads a file that names them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import KERNELS, registered_classes
from keras_trt.quantize.placement import ATTENTION, RULES
from keras_trt.quantize.quantizer import activation_quantizer
from keras_trt.quantize.twins import twin_class


def register(flavor: Flavor, config: Any = None, custom_objects: Mapping[str, Any] | None = None) -> None:
    """Registers the twins of one Keras's layers, and of the custom classes that a config names.

    Args:
        flavor: The Keras that will load.
        config: A model's config as JSON data; its twins say which class they are twins of.
        custom_objects: Classes by name, for those that are neither registered nor importable.
    """
    activation_quantizer(flavor)
    for name in {*KERNELS, *RULES, *ATTENTION}:
        cls = getattr(flavor.keras.layers, name, None)
        if isinstance(cls, type):
            twin_class(cls)
    for cls in registered_classes():
        if issubclass(cls, flavor.keras.layers.Layer):
            twin_class(cls)
    for module, name, registered in _bases(config):
        base = _find(flavor, module, name, registered, custom_objects or {})
        if base is not None:
            twin_class(base)


def _bases(config: Any) -> Iterator[tuple[str, str, str]]:
    """What the twins in a config are twins of: (module, qualified name, registered name)."""
    if isinstance(config, dict):
        known = (config.get("quantization") or {}).get("base") if "quantization" in config else None
        if known:
            yield tuple(known)
        for value in config.values():
            yield from _bases(value)
    elif isinstance(config, list):
        for value in config:
            yield from _bases(value)


def _find(flavor: Flavor, module: str, name: str, registered: str, custom: Mapping[str, Any]) -> Any:
    """A class by what is known of it; None when it cannot be found (Keras then says so)."""
    short = name.rsplit(".", maxsplit=1)[-1]
    found = custom.get(registered) or custom.get(short)
    found = found or flavor.keras.saving.get_registered_object(registered)
    if found is None:
        try:
            found = reduce(getattr, name.split("."), importlib.import_module(module))
        except (ImportError, AttributeError):
            return None
    return found
