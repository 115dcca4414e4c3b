"""Listens to the layers of a model while it runs: what each was given and what it made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt._machine.process import attributes_replaced

Function = Callable[..., Any]


@dataclass(frozen=True)
class Call:
    """One call of one layer.

    Attributes:
        path: The layer's path.
        inputs: The tensors it was given, flattened; the very objects, so that `is` tells who made them.
        outputs: The tensors it made.
    """

    path: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]


@contextmanager
def recorded(flavor: Flavor, model: Model) -> Iterator[list[Call]]:
    """Fills a list with the calls of all layers of a model, inner ones first, while it runs eagerly.

    Works for every kind of model, since it listens to the layers and not to a graph of them. The layers are
    as they were afterwards.

    Args:
        flavor: The model's Keras.
        model: Any built model.

    Example:
        >>> with recorded(flavor, model) as calls:  # doctest: +SKIP
        ...     model(x)
        >>> calls[0].path  # doctest: +SKIP
        'conv1'
    """
    calls: list[Call] = []

    def listening(path: str, call: Function) -> Function:
        def listen(*args: object, **options: object) -> Any:
            outputs = call(*args, **options)
            inputs, made = _tensors(flavor, (args, options)), _tensors(flavor, outputs)
            if flavor.ops.is_eager(*inputs, *made):  # tensors of a function's graph have no values
                calls.append(Call(path, inputs, made))
            return outputs

        return listen

    with replaced_calls(flavor, model, listening):
        yield calls


@contextmanager
def replaced_calls(
    flavor: Flavor, model: Model, replace: Callable[[str, Function], Function]
) -> Iterator[None]:
    """While open, each layer inside a model runs `replace(path, call)` instead of its `call`.

    Also where another layer runs `layer.call` itself, as wrappers of Keras do.
    """
    with attributes_replaced() as put:
        for path, layer in flavor.walk(model):
            call = layer.call
            new: Any = functools.wraps(call)(replace(path, call))
            new.__signature__ = inspect.signature(call)  # Keras passes a mask to those that take one
            put(layer, "call", new)
        yield


def _tensors(flavor: Flavor, nest: object) -> tuple[Any, ...]:
    return tuple(leaf for leaf in flavor.ops.nest.flatten(nest) if flavor.ops.is_tensor(leaf))
