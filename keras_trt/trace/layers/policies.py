"""Policies under which layers compute and return another float type than the graph that is traced.

Those are the mixed ones, with float32 weights, bfloat16, and float16 in a quantised model: the grid of int8
weights needs float32, which holds every value of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model
from keras_trt._machine.process import attributes_replaced


def is_mixed(flavor: Flavor, model: Model) -> bool:
    """Whether a layer of the model, or the model itself, has such a policy."""
    return any(True for _ in _mixed(flavor, model))


def traced_in_float32(flavor: Flavor, layer: Layer) -> bool:
    """Whether `in_float32` makes a layer compute in float32, when it is quantised if it can be."""
    name = _name(flavor, layer)
    return name.startswith("mixed_") or name in _narrow(flavor, [layer])


@contextmanager
def in_float32(flavor: Flavor, model: Model) -> Iterator[None]:
    """While open, layers of these policies compute in float32."""
    plain = flavor.keras.mixed_precision.Policy("float32")
    with attributes_replaced() as put:
        for layer, name in _mixed(flavor, model):
            policy = plain if name.startswith("mixed_") else _widening(flavor, name)
            for attribute, value in flavor.policy_attributes(layer, policy).items():
                put(layer, attribute, value)
        yield


def _mixed(flavor: Flavor, model: Model) -> Iterator[tuple[Layer, str]]:
    """The layers, and the names of their policies."""
    layers = [model, *(layer for _, layer in flavor.walk(model))]
    narrow = _narrow(flavor, layers)
    for layer in layers:
        name = _name(flavor, layer)
        if name.startswith("mixed_") or name in narrow:
            yield layer, name


def _narrow(flavor: Flavor, layers: Sequence[Layer]) -> tuple[str, ...]:
    """The policies of one narrow type that count as mixed; only Keras 3 casts the weights of such layers."""
    if not flavor.casts_narrow_weights:
        return ()
    quantised = any(hasattr(layer, "quantization") for layer in layers)
    return ("bfloat16", "float16") if quantised else ("bfloat16",)


def _name(flavor: Flavor, layer: Layer) -> str:
    if not isinstance(layer, flavor.keras.layers.Layer):  # an operation of Keras 3
        return ""
    return str(getattr(private(layer, "_dtype_policy", flavor.keras.__name__), "name", ""))


def _widening(flavor: Flavor, stored: str) -> Any:
    """A policy that casts narrow weights to float32: Keras casts where it takes the two to differ."""

    class Widening(flavor.keras.mixed_precision.Policy):  # type: ignore[name-defined]
        @property
        def variable_dtype(self) -> str:
            return stored

    return Widening("float32")
