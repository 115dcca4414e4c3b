"""Lambdas that a layer has as its activation, initializer, regularizer or constraint, read from a file.

Both Kerases write them and read none: `activations.get` and its like take their form in a file for a
description of something else. A lambda is code: it is read only where the file may carry code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.rebuilding.named_classes import entries
from keras_trt._machine.process import attributes_replaced
from keras_trt.errors import ModelError

LAMBDA = "<lambda>"  # what Python calls it, and so `custom_objects`
_NAMESPACES = ("activations", "constraints", "initializers", "regularizers")


def check_lambdas(config: object, custom: Mapping[str, object], *, safe_mode: bool) -> None:
    """Refuses a file that carries code in a parameter of a layer, unless it may, or the code is given.

    Raises:
        ModelError: It does, or carries several where one is given; a layer and its parameter are named.
    """
    lambdas = list(_lambdas(config))
    if not lambdas or (not safe_mode and LAMBDA not in custom):
        return
    layer, parameter, code = lambdas[0]
    if LAMBDA not in custom:
        raise ModelError(
            f"Layer {layer!r} has a lambda as its `{parameter}`, which the file carries as code. Pass the "
            f"function, custom_objects={{'{LAMBDA}': function}}, or, if you trust the file, load it with "
            "safe_mode=False."
        )
    other = next((each for each in lambdas if each[2] != code), None)
    if other is not None:
        raise ModelError(
            f"Layer {layer!r} has another lambda as its `{parameter}` than layer {other[0]!r} as its "
            f"`{other[1]}`. Received: one function, as custom_objects[{LAMBDA!r}]. Load the file with "
            "safe_mode=False and without it, if you trust the file, or save the model with functions that "
            "have names."
        )


@contextmanager
def reading_lambdas(flavor: Flavor, custom: Mapping[str, object], *, safe_mode: bool) -> Iterator[None]:
    """While open, Keras's layers take a lambda from a file that may carry code, or that in `custom_objects`.

    A file may hide one where `check_lambdas` does not look: whether it may is asked here again.
    """

    def reading(get: Callable[..., object]) -> Callable[..., object]:
        def read(identifier: object, *args: object, **options: object) -> object:
            code = _code(identifier)
            if code is None:
                return get(identifier, *args, **options)
            if LAMBDA in custom:
                return custom[LAMBDA]
            if safe_mode:
                raise ModelError("The file carries a lambda, which is code: see `safe_mode`.")
            stored = {"class_name": "__lambda__", "config": {"value": code}}
            return flavor.keras.saving.deserialize_keras_object(stored, safe_mode=False)

        return read

    with attributes_replaced() as replace:
        for namespace in _NAMESPACES:
            get = getattr(flavor.keras, namespace).get
            replace(sys.modules[get.__module__], "get", reading(get))  # where Keras's layers look it up
        yield


def _lambdas(config: object) -> Iterator[tuple[object, str, object]]:
    """The lambdas among the parameters of layers, each with the layer's name and the parameter's.

    A Lambda layer has its function to itself, of which Keras speaks.
    """
    for entry in entries(config):
        own, kind = entry.get("config"), entry.get("class_name")
        if isinstance(own, dict) and kind != "Lambda":
            codes = ((parameter, _code(value)) for parameter, value in own.items())
            yield from ((own.get("name", kind), parameter, code) for parameter, code in codes if code)


def _code(value: Any) -> Any:
    """What Keras's `func_dump` has made of a function: (code, defaults, closure); None for all else."""
    if isinstance(value, dict) and value.get("class_name") == "__lambda__":
        value = value.get("config")
    dumped = value.get("value") if isinstance(value, dict) and set(value) == {"value"} else None
    is_code = isinstance(dumped, list | tuple) and len(dumped) == 3 and isinstance(dumped[0], str)
    return dumped if is_code else None
