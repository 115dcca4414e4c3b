"""Classes of the user's that another process needs to load a model: by their modules, or by value.

What is imported or unpickled there comes from this process's memory, never from a model's file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.errors import MissingDependencyError, ModelError
from keras_trt.twins.twins import float_class

_KNOWN = {"keras", "keras_trt", "builtins"}


@dataclass(frozen=True)
class Classes:
    """How another process comes by the classes of a model.

    Attributes:
        by_module: (module, qualified name) to be imported there, by the name that the model's file has.
        by_value: Classes of scripts and notebooks, pickled, by the name that the model's file has for them.
    """

    by_module: dict[str, tuple[str, str]]
    by_value: dict[str, bytes]


def classes_of(flavor: Flavor, model: Model) -> Classes:
    """The classes of a model, of its layers, and all that are registered with Keras.

    Raises:
        ModelError: A class that cannot be pickled.
        MissingDependencyError: A class of a script, a notebook or a function, without `cloudpickle`.
    """
    by_module, by_value = dict[str, tuple[str, str]](), dict[str, bytes]()
    for name, cls in _named(flavor, model):
        module = getattr(cls, "__module__", "builtins")
        if module.split(".")[0] in _KNOWN or name.startswith("keras_trt>"):  # made anew by `load_model`
            continue
        if module in sys.modules and module != "__main__" and "<locals>" not in cls.__qualname__:
            by_module[name] = (module, cls.__qualname__)
        else:
            by_value[name] = _pickled(cls)
    return Classes(by_module, by_value)


def _named(flavor: Flavor, model: Model) -> Iterator[tuple[str, Any]]:
    """Classes and functions with the names that Keras's files have for them."""
    yield from flavor.keras.saving.get_custom_objects().items()
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        cls = float_class(layer)
        yield flavor.keras.saving.get_registered_name(cls), cls


def _pickled(cls: Any) -> bytes:
    try:
        import cloudpickle
    except ImportError as e:
        raise MissingDependencyError(
            f"{cls.__qualname__!r} is defined in no module, and the process that exports "
            "a model of another backend than TensorFlow gets it by value: pip install cloudpickle. Or define "
            "it in a module that can be imported."
        ) from e
    try:
        return bytes(cloudpickle.dumps(cls))
    except Exception as e:  # whatever its attributes raise
        raise ModelError(
            f"{cls.__qualname__!r} cannot be given to the process that exports: {type(e).__name__}: {e}. "
            "Define it in a module that can be imported."
        ) from e
