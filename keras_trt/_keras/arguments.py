"""What a model's `call` asks for beside the one argument that Keras gives it."""

from __future__ import annotations

import inspect

from keras_trt._keras.types import Model
from keras_trt.errors import ModelError

_FILLED_IN = ("training", "mask")  # by Keras


def check_one_argument(model: Model) -> None:
    """Refuses a model whose `call` cannot be run on one argument.

    Raises:
        ModelError: It needs several, which `fit` and `predict` do not give either.
    """
    needed = required_arguments(model)
    if len(needed) > 1:
        raise ModelError(
            f"The `call` of model {model.name!r} needs {len(needed)} arguments. "
            f"Received: call({', '.join(needed)}). "
            "Keras's `fit` and `predict` give a model one, and so does this library: let `call` take a list, "
            "a tuple or a dict of the inputs."
        )


def required_arguments(model: Model) -> list[str]:
    """The arguments of a model's `call` without which it cannot run."""
    parameters = inspect.signature(model.call).parameters.values()
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
    return [name for name in needed if name not in _FILLED_IN]
