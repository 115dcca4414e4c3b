"""Lets images of open height and width grow while a model is traced for export.

Keras 3's UpSampling2D compares the new size with 0 in Python, which no size that is known at run time only
can take. tf_keras does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt._machine.process import attributes_replaced


@contextmanager
def open_sizes(flavor: Flavor, model: Model) -> Iterator[None]:
    """While open, `UpSampling2D` layers read the size of their images at run time where it is open."""
    kind = flavor.keras.layers.UpSampling2D
    name = "_resize_images"  # of Keras 3; a release without it resizes in another way
    instances = [layer for _, layer in flavor.walk(model) if isinstance(layer, kind)]
    layers = [layer for layer in instances if hasattr(layer, name)]
    with attributes_replaced() as replace:
        for layer in layers:
            replace(layer, name, _resize(flavor.tf, getattr(layer, name)))
        yield


def _resize(tf: ModuleType, original: Callable[..., object]) -> Callable[..., Any]:
    """What stands in for the layer's own method, with the same arguments."""

    def resize(
        x: Tensor, height_factor: int, width_factor: int, data_format: str, interpolation: str = "nearest"
    ) -> Any:
        first = data_format == "channels_first"
        sizes = x.shape[2:4] if first else x.shape[1:3]
        if None not in tuple(sizes) or interpolation == "nearest" or not x.dtype.is_floating:
            return original(x, height_factor, width_factor, data_format, interpolation=interpolation)
        images = tf.transpose(x, (0, 2, 3, 1)) if first else x
        size = tf.shape(images)[1:3] * [height_factor, width_factor]
        grown = tf.cast(tf.image.resize(images, size, method=interpolation), x.dtype)
        return tf.transpose(grown, (0, 3, 1, 2)) if first else grown

    return resize
