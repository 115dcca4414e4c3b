"""Python functions as graphs of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_trt._keras.flavor import Flavor


def as_graphs(flavor: Flavor, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors as graphs, one for each kind of arguments.

    Each is called itself: of a `tf.function` that is made anew for each model, TensorFlow warns that it is
    traced too often.
    """
    traced = flavor.tf.function(function, reduce_retracing=True)

    def run(*arguments: Any) -> Any:
        return traced.get_concrete_function(*arguments)(*arguments)

    return run
