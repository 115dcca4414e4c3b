"""Making twin classes known to a Keras before it reads a file that names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import KERNELS, registered_classes
from keras_trt._keras.named_classes import entries, find_layer_class
from keras_trt.errors import InputError
from keras_trt.quantize.placement import ATTENTION, RULES
from keras_trt.quantize.quantizer import activation_quantizer
from keras_trt.quantize.twins import twin_class


def register(flavor: Flavor, config: Any = None, custom_objects: Mapping[str, Any] | None = None) -> None:
    """Registers the twins of one Keras's layers, and of the custom classes that a config names.

    Args:
        flavor: The Keras that will load.
        config: A model's config as JSON data; its twins say which class they are twins of.
        custom_objects: Classes by name, for those that are not registered.

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
    for module, name, registered in _bases(config):
        base = find_layer_class(flavor, module, name, registered, custom_objects or {})
        twin_class(getattr(base, "_float_class", None) or base)


def _bases(config: Any) -> Iterator[tuple[str, str, str]]:
    """What the twins in a config are twins of: (module, qualified name, registered name)."""
    for entry in entries(config):
        known = entry.get("quantization")
        base = known.get("base") if isinstance(known, dict) else None
        if base is None:
            continue
        if not (isinstance(base, list) and len(base) == 3 and all(isinstance(text, str) for text in base)):
            raise InputError(
                f"The base of a quantised layer is three names: its module, its name and the name it is "
                f"registered under. Received: {base!r}"
            )
        yield base[0], base[1], base[2]
