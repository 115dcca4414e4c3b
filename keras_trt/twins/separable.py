"""Separable convolutions compute two products; the second one needs a quantised input of its own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor


def separable_call(flavor: Flavor, layer: Any, inputs: Any) -> Tensor:
    """What `SeparableConv1D/2D` compute, with the layer's inner quantiser between the two products."""
    ops, channels_last = flavor.ops, layer.data_format == "channels_last"
    if not channels_last:  # TensorFlow's CPU kernels know one layout only
        inputs = ops.einsum("nc...->n...c", inputs)
    x, rank = inputs, layer.rank
    if rank == 1:
        x = _pad_causal(ops, layer, x)[:, None]
    padding = "valid" if layer.padding == "causal" else layer.padding
    depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
    if rank == 1:
        depthwise, pointwise = depthwise[None], pointwise[None]
    strides, dilations = _twice(layer.strides), _twice(layer.dilation_rate)
    x = ops.depthwise_conv(x, depthwise, strides, padding, dilations)
    x = layer.inner_quantizers[0](x)
    x = ops.pointwise_conv(x, pointwise)
    x = x[:, 0] if rank == 1 else x
    if layer.use_bias:
        x = ops.bias_add(x, ops.cast(ops.convert_to_tensor(layer.bias), x.dtype))
    x = x if channels_last else ops.einsum("n...c->nc...", x)
    return x if layer.activation is None else layer.activation(x)


def _twice(value: object) -> tuple[int, int]:
    """Strides and dilations for the 2D op, which wants the same in both directions."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return (values[0], values[-1])


def _pad_causal(ops: ModuleType, layer: Any, x: Tensor) -> Tensor:
    if layer.padding != "causal":
        return x
    left = _twice(layer.dilation_rate)[0] * (_twice(layer.kernel_size)[0] - 1)
    return ops.pad(x, [[0, 0], [left, 0], [0, 0]])
