"""Batch normalisation that stands still: moving statistics in training too, as in the engine."""

from __future__ import annotations

import inspect
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model


def freeze_batchnorm(flavor: Flavor, model: Model) -> None:
    """Makes every BatchNormalization of a model use its moving statistics, in place.

    The layer keeps its class, so that a file written meanwhile is like any other.
    """
    for _, layer in flavor.walk(model):
        if isinstance(layer, flavor.keras.layers.BatchNormalization) and "call" not in vars(layer):
            vars(layer)["call"] = _still(layer)


def unfreeze_batchnorm(flavor: Flavor, model: Model) -> bool:
    """Undoes `freeze_batchnorm`; says whether there was something to undo."""
    frozen = [layer for _, layer in flavor.walk(model) if hasattr(vars(layer).get("call"), "_stands_still")]
    for layer in frozen:
        del vars(layer)["call"]
    return bool(frozen)


def _still(layer: Layer) -> Any:
    """The layer's `call`, as in inference."""
    signature = inspect.signature(layer.call)

    def call(*args: object, **kwargs: object) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments["training"] = False
        return type(layer).call(layer, *bound.args, **bound.kwargs)

    call._stands_still = True  # type: ignore[attr-defined]
    return call
