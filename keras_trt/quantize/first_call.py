"""Models with layers that get their weights in the first call only."""

from __future__ import annotations

from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.data.first import read_first


def call_first(flavor: Flavor, model: Model, data: object, *, name: str) -> Any:
    """Calls a model once where a layer has no weights yet that could be quantised; returns the data anew.

    Keras 3 does not call a layer with its own `build` and `compute_output_shape` while it makes a model
    of it, so what is inside waits for the first rows.

    Args:
        flavor: The model's Keras.
        model: A model that counts as built.
        data: As for `batches`.
        name: The argument that the user has given.
    """
    if all(layer.built for _, layer in flavor.walk(model)):
        return data
    first, data = read_first(flavor, model, data, name=name)
    if first:
        model(first[0], **flavor.inference_arguments(model))
    return data
