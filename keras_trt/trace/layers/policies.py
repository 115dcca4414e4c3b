"""Mixed-precision policies: float32 weights, and layers that compute and return another float type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt._private import private
from keras_trt._process import attributes_replaced


def is_mixed(flavor: Flavor, model: Model) -> bool:
    """Whether a layer of the model, or the model itself, has a mixed policy."""
    return any(True for _ in _mixed(flavor, model))


@contextmanager
def in_float32(flavor: Flavor, model: Model) -> Iterator[None]:
    """While open, layers with float32 variables compute in float32 whatever their mixed policy says."""
    with attributes_replaced() as put:
        for layer in _mixed(flavor, model):
            for name, value in flavor.policy_attributes(layer, "float32").items():
                put(layer, name, value)
        yield


def _mixed(flavor: Flavor, model: Model) -> Iterator[Any]:
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        if not isinstance(layer, flavor.keras.layers.Layer):  # an operation of Keras 3
            continue
        policy = private(layer, "_dtype_policy", flavor.keras.__name__)
        if str(getattr(policy, "name", "")).startswith("mixed_"):
            yield layer
