"""Separable convolutions compute two products; the second one needs a quantised input of its own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor


def separable_call(flavor: Flavor, layer: Any, inputs: Any) -> Tensor:
    """What `SeparableConv1D/2D` compute, with the layer's inner quantiser between the two products."""
    tf, channels_last = flavor.tf, layer.data_format == "channels_last"
    if not channels_last:  # TensorFlow's CPU kernels know one layout only
        inputs = tf.einsum("nc...->n...c", inputs)
    x, rank = inputs, layer.rank
    if rank == 1:
        x = _pad_causal(tf, layer, x)[:, tf.newaxis]
    padding = "VALID" if layer.padding == "causal" else layer.padding.upper()
    depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
    if rank == 1:
        depthwise, pointwise = depthwise[tf.newaxis], pointwise[tf.newaxis]
    strides, dilations = _twice(layer.strides), _twice(layer.dilation_rate)
    x = tf.nn.depthwise_conv2d(x, depthwise, (1, *strides, 1), padding, dilations=dilations)
    x = layer.inner_quantizers[0](x)
    x = tf.nn.conv2d(x, pointwise, 1, "VALID")
    x = x[:, 0] if rank == 1 else x
    if layer.use_bias:
        x = tf.nn.bias_add(x, tf.cast(tf.convert_to_tensor(layer.bias), x.dtype))
    x = x if channels_last else tf.einsum("n...c->nc...", x)
    return x if layer.activation is None else layer.activation(x)


def _twice(value: object) -> tuple[int, int]:
    """Strides and dilations for the 2D op, which wants the same in both directions."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (values[0], values[-1])


def _pad_causal(tf: ModuleType, layer: Any, x: Tensor) -> Tensor:
    if layer.padding != "causal":
        return x
    left = _twice(layer.dilation_rate)[0] * (_twice(layer.kernel_size)[0] - 1)
    return tf.pad(x, [[0, 0], [left, 0], [0, 0]])
