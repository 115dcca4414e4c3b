"""Computes all steps of a `TimeDistributed` layer at once.

Keras 3 calls the wrapped layer once a step, in a Python loop or, when the number of steps is open, in a
vectorised one whose result has the wrong length in ONNX. tf_keras loops when the batch size is fixed. As the
layer treats every sample alike in inference, steps can be samples: one reshape before it and one behind are
exact.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import calls_by_keras
from keras_trt._keras.types import Layer, Model, Tensor
from keras_trt._machine.process import attributes_replaced


@contextmanager
def steps_at_once(flavor: Flavor, model: Model) -> Iterator[None]:
    """While open, `TimeDistributed` layers call the layer that they wrap once.

    A class with a `call` of its own and a wrapped layer that keeps a state between calls are left alone.
    """
    wrappers = [layer for _, layer in flavor.walk(model) if _calls_each_step(flavor, layer)]
    with attributes_replaced() as replace:
        for wrapper in wrappers:
            replace(wrapper, "call", all_steps(flavor, wrapper))
        yield


def can_be_at_once(flavor: Flavor, layer: Any, training: object) -> bool:
    """Whether a layer calls the one that it wraps step by step, and one call would compute the same.

    In training a BatchNormalization inside has other statistics for each step, and a Dropout other masks.
    """
    if not (flavor.has_graphs and _calls_each_step(flavor, layer)):
        return False
    infers = training is None or (isinstance(training, bool | int) and not training)
    return infers or _is_dense(flavor, layer.layer)


def _calls_each_step(flavor: Flavor, layer: Layer) -> bool:
    kind = flavor.keras.layers.TimeDistributed
    if not (isinstance(layer, kind) and _float_class(layer).call is kind.call):
        return False
    inside = [layer.layer, *(below for _, below in flavor.walk(layer.layer))]
    return not any(getattr(below, "stateful", False) for below in inside)


def _float_class(layer: Layer) -> Any:
    """The layer's class; a twin around quantised layers has no quantisers of its own."""
    return getattr(type(layer), "_float_class", type(layer))


def all_steps(flavor: Flavor, wrapper: Any) -> Callable[..., Any]:
    """What stands in for a layer's `TimeDistributed.call`."""
    tf, layer = flavor.tf, wrapper.layer
    takes = inspect.signature(layer.call).parameters

    def call(inputs: object, training: object = None, mask: Any = None) -> Any:
        options = {"training": training} if "training" in takes else {}
        if _is_dense(flavor, layer):
            return layer(inputs, **options)
        if mask is not None and "mask" in takes:
            options["mask"] = _joined(tf, mask)
        outputs = layer(tf.nest.map_structure(lambda x: _joined(tf, x), inputs), **options)
        steps = tf.nest.flatten(inputs)[0]
        return tf.nest.map_structure(lambda y: _parted(tf, y, steps), outputs)

    return call


def _is_dense(flavor: Flavor, layer: Layer) -> bool:
    """Whether the layer works on the last axis alone, whatever the others are."""
    if not (isinstance(layer, flavor.keras.layers.Dense) and calls_by_keras(_float_class(layer))):
        return False
    activation = getattr(layer.activation, "__module__", "")
    return activation.split(".")[0] == flavor.keras.__name__  # a user's own may look at other axes


def _joined(tf: ModuleType, x: Tensor) -> Tensor:
    """(batch, steps, ...) as (batch * steps, ...)."""
    return tf.reshape(x, [-1, *sizes(tf, x)[2:]])


def _parted(tf: ModuleType, y: Tensor, like: Tensor) -> Tensor:
    """(batch * steps, ...) as (batch, steps, ...) of `like`."""
    parted = tf.reshape(y, [-1, sizes(tf, like)[1], *sizes(tf, y)[1:]])
    parted.set_shape([*like.shape[:2], *y.shape[1:]])
    return parted


def sizes(tf: ModuleType, x: Tensor) -> list[Any]:
    """The size of every axis, a number where it is known."""
    sizes = tf.shape(x)
    return [sizes[axis] if size is None else size for axis, size in enumerate(x.shape)]
