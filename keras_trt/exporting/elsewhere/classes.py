"""Classes and functions that another process needs to load a model: by their modules, or by value.

What is imported or unpickled there comes from this process's memory, never from a model's file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import is_keras_own
from keras_trt._keras.rebuilding.stored_lambdas import LAMBDA
from keras_trt._keras.types import Model
from keras_trt.errors import MissingDependencyError, ModelError
from keras_trt.twins.twins import float_class

_KNOWN = {"keras", "keras_trt", "builtins"}


@dataclass(frozen=True)
class Classes:
    """How another process comes by the classes of a model, and the functions that its layers have.

    Attributes:
        by_module: (module, qualified name) to be imported there, by the name that the model's file has.
        by_value: Those of scripts and notebooks, pickled, by the name that the model's file has for them.
    """

    by_module: dict[str, tuple[str, str]]
    by_value: dict[str, bytes]


def classes_of(flavor: Flavor, model: Model) -> Classes:
    """The classes of a model, of its layers, all that are registered with Keras, and the layers' functions.

    Raises:
        ModelError: A class or function that cannot be pickled.
        MissingDependencyError: One of a script, a notebook or a function, without `cloudpickle`.
    """
    by_module, by_value = dict[str, tuple[str, str]](), dict[str, bytes]()
    for name, cls in (*_functions(flavor, model), *_named(flavor, model)):
        module = getattr(cls, "__module__", "builtins")
        is_known = module.split(".")[0] in _KNOWN and not isinstance(cls, FunctionType)
        if is_known or name.startswith("keras_trt>"):  # made anew by `load_model`
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


def _functions(flavor: Flavor, model: Model) -> Iterator[tuple[str, FunctionType]]:
    """What Keras's layers have as activations and the like, with the names that its files have for them.

    Keras's own functions are among them: a file cannot name all (`ops.sin`). All lambdas have one name, so
    they travel if they are one; else the file has their code, without what that refers to, as it has it of
    Lambda layers.
    """
    functions = [
        value
        for _, layer in flavor.walk(model)
        if is_keras_own(float_class(layer))
        for attribute, value in vars(layer).items()
        if isinstance(value, FunctionType) and not hasattr(float_class(layer), attribute)
        if not (value.__name__ == LAMBDA and isinstance(layer, flavor.keras.layers.Lambda))
    ]
    lambdas = {function.__code__ for function in functions if function.__name__ == LAMBDA}
    for function in functions:
        if function.__name__ != LAMBDA or len(lambdas) == 1:
            yield function.__name__, function


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
