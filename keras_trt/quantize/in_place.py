"""Quantising a live model: after an error it is as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.rebuilding.in_place import in_place
from keras_trt._keras.types import Model
from keras_trt.errors import InputError
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.twins.twins import dequantize_layer, is_twin


@contextmanager
def quantizing(flavor: Flavor, model: Model, scheme: object) -> Iterator[Any]:
    """A context in which layers of a model may become twins; an error takes that back.

    Raises:
        InputError: The scheme adds trainable weights to a compiled model.
    """
    learned = any(choice.learned_ranges for _, choice in schemes_by_choice(scheme))
    if learned and getattr(model, "optimizer", None) is not None:
        raise InputError(
            "Learned ranges are new trainable weights, which the optimizer of a compiled model does not "
            f"take. Leave `copy` out, then compile the copy. Received: copy=False, scheme={scheme!r}"
        )
    with in_place(flavor, model):
        layers = [model, *(layer for _, layer in flavor.walk(model))]
        before = {id(layer): layer.quantization for layer in layers if is_twin(layer)}
        try:
            yield model
        except BaseException:
            for layer in filter(is_twin, layers):
                if id(layer) in before:
                    layer.quantization = before[id(layer)]
                else:
                    dequantize_layer(layer)
            raise
