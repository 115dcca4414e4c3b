"""Traces tf_keras's normalisations over their own input as the arithmetic that they are.

For LayerNormalization tf_keras borrows TensorFlow's fused batch normalisation: reshaped to computed sizes,
with a batch normalisation in training mode. GroupNormalization weighs every element with a mask of ones.
TensorRT knows neither for what it is, and the order of axes cannot be moved through computed sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keras_trt._base.private import private
from keras_trt._keras.calls.time_steps import sizes
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt._machine.process import attributes_replaced


@contextmanager
def plain_normalization(flavor: Flavor, model: Model) -> Iterator[None]:
    """While open, both are means and products, as Keras 3 writes them.

    A class with a `call` of its own is left alone.
    """
    if not flavor.fuses_normalization:
        yield
        return
    layers, every = flavor.keras.layers, [layer for _, layer in flavor.walk(model)]
    fused = [
        x for x in every if isinstance(x, layers.LayerNormalization) and private(x, "_fused", "tf_keras")
    ]
    kind = layers.GroupNormalization
    grouped = [x for x in every if getattr(type(x), "call", None) is kind.call]
    with attributes_replaced() as replace:
        for layer in fused:
            replace(layer, "_fused", False)
        for layer in grouped:
            replace(layer, "call", _grouped_call(flavor.tf, layer))
        yield


def _grouped_call(tf: Any, layer: Any) -> Callable[..., Any]:
    """What stands in for `GroupNormalization.call`, which is kept for inputs with a mask."""
    masked = layer.call

    def call(inputs: Any, mask: object = None) -> Any:
        if mask is not None:
            return masked(inputs, mask=mask)
        shape, axis = [-1, *sizes(tf, inputs)[1:]], layer.axis % inputs.shape.rank
        groups = [layer.groups, inputs.shape[axis] // layer.groups]

        def parted(x: Tensor, sizes: list[Any]) -> Any:
            return tf.reshape(x, [*sizes[:axis], *groups, *sizes[axis + 1 :]])

        ones = [1] * len(shape)
        x = parted(inputs, shape)
        mean, variance = tf.nn.moments(x, [i for i in range(1, x.shape.rank) if i != axis], keepdims=True)
        scale, offset = (None if w is None else parted(w, ones) for w in (layer.gamma, layer.beta))
        y = tf.nn.batch_normalization(x, mean, variance, offset, scale, layer.epsilon)
        return tf.reshape(y, shape)

    return call
