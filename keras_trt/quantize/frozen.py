"""Batch normalisation that stands still: moving statistics in training too, as in the engine."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

from keras_trt._keras.flavor import Flavor


def freeze_batchnorm(flavor: Flavor, model: Any) -> None:
    """Makes every BatchNormalization of a model use its moving statistics, in place."""
    for _, layer in flavor.walk(model):
        if isinstance(layer, flavor.keras.layers.BatchNormalization) and not _is_frozen(layer):
            layer.__class__ = _frozen_class(layer.__class__)


def unfreeze_batchnorm(flavor: Flavor, model: Any) -> None:
    """Undoes `freeze_batchnorm`."""
    for _, layer in flavor.walk(model):
        if _is_frozen(layer):
            layer.__class__ = type(layer)._thawed_class


def _is_frozen(layer: Any) -> bool:
    return hasattr(type(layer), "_thawed_class")


@functools.cache
def _frozen_class(base: Any) -> type:
    def call(self: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(base.call).bind(self, inputs, *args, **kwargs)
        bound.arguments["training"] = False
        return base.call(*bound.args, **bound.kwargs)

    call.__signature__ = inspect.signature(base.call)  # type: ignore[attr-defined]
    # The module and name of the base, so that a checkpoint written meanwhile names the base.
    body = {"call": call, "_thawed_class": base, "__module__": base.__module__}
    return types.new_class(base.__name__, (base,), exec_body=lambda namespace: namespace.update(body))
