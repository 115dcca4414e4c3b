"""The operators that this library's numbers are written in, as TensorFlow has them.

They have the names of `keras.ops`, and in a graph each is the one operator that is traced and exported. For
models of both Kerases on TensorFlow; `keras_ops` has the same for Keras 3 on any other backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_trt._keras.types import Tensor

nest = tf.nest
abs, cast, clip, cond, constant = tf.abs, tf.cast, tf.clip_by_value, tf.cond, tf.constant
convert_to_tensor, einsum, identity, is_tensor = tf.convert_to_tensor, tf.einsum, tf.identity, tf.is_tensor
isfinite, logical_and, matmul = tf.math.is_finite, tf.logical_and, tf.matmul
max, maximum, min, ones_like = tf.reduce_max, tf.maximum, tf.reduce_min, tf.ones_like
pad, reshape, round, shape, sign = tf.pad, tf.reshape, tf.round, tf.shape, tf.sign
size, softmax, sqrt, square, stack = tf.size, tf.nn.softmax, tf.sqrt, tf.square, tf.stack
stop_gradient, sum, tile, transpose = tf.stop_gradient, tf.reduce_sum, tf.tile, tf.transpose
where, zeros_like = tf.where, tf.zeros_like


def is_eager(*_: object) -> bool:
    """Whether tensors have values now, and are not only being traced."""
    return bool(tf.executing_eagerly())


def is_float(x: Any) -> bool:
    """Whether a tensor holds floats."""
    return bool(x.dtype.is_floating)


def dtype_name(x: Any) -> str:
    """The name of a tensor's element type, e.g. `"float32"`."""
    return str(tf.as_dtype(x.dtype).name)


def flat_tensors(nested: object) -> list[Any]:
    """The leaves of a nest as tensors."""
    return [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(nested, expand_composites=True)]


def to_numpy(x: Any) -> Any:
    """A tensor's values."""
    return x.numpy()


def settled(compute: Callable[[], Any]) -> Any:
    """What a function of variables gives now, as numbers, also where a graph is being made."""
    with tf.init_scope():
        return compute().numpy()


def nearest_fp8(x: Tensor) -> Tensor:
    """The nearest number of E4M3 to each value that it reaches."""
    return tf.cast(tf.cast(x, tf.dtypes.experimental.float8_e4m3fn), x.dtype)


def nearest_int8(x: Tensor, amax: Tensor) -> Tensor:
    """The nearest number of the int8 grid of a range: one kernel, which tf2onnx writes as Q/DQ."""
    return tf.raw_ops.QuantizeAndDequantizeV2(input=x, input_min=-amax, input_max=amax, range_given=True)


def straight_through(
    rounding: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    amax: Tensor,
    slope: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
) -> Tensor:
    """`rounding(x, amax)` of float32, with the upstream gradient for what is inside the range.

    Args:
        rounding: A function of values and a range.
        x: Float32 values.
        amax: A scalar > 0.
        slope: The derivative of each value by the range, of (x, rounded, amax), for a range that is learned.
    """

    @tf.custom_gradient
    def rounded(x: Tensor, amax: Tensor) -> Any:
        y = rounding(x, amax)

        def gradient(upstream: Tensor) -> tuple[Any, Any]:
            passed = _inside_only(x, amax, upstream)
            return passed, None if slope is None else tf.reduce_sum(upstream * slope(x, y, amax))

        return y, gradient

    return rounded(x, amax)


def _inside_only(x: Tensor, amax: Tensor, upstream: Tensor) -> Tensor:
    """`upstream` where `|x| <= amax`, else 0; on CPUs in half the time of a comparison and a select.

    ReLU's gradient passes where its input is > 0; the next float after `amax` makes the border count.
    """
    return tf.raw_ops.ReluGrad(gradients=upstream, features=tf.math.nextafter(amax, math.inf) - tf.abs(x))


def all_through(rounding: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`rounding(x)`, with the upstream gradient for x."""

    @tf.custom_gradient
    def rounded(x: Tensor) -> Any:
        return rounding(x), lambda upstream: upstream

    return rounded(x)


def without_slope(x: Tensor, variable: Tensor) -> Tensor:
    """`x` itself, with a gradient of 0 for a variable that is of no effect for now."""

    @tf.custom_gradient
    def same(x: Tensor, variable: Tensor) -> Any:
        return tf.identity(x), lambda upstream: (upstream, tf.zeros_like(variable))

    return same(x, variable)


def product_with_transposed(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices, the last two axes of the second exchanged."""
    return tf.matmul(a, b, transpose_b=True)


def uniform(like: Tensor, seed: int, low: float, high: float) -> Tensor:
    """Random numbers of a tensor's shape; equal for equal seeds."""
    return tf.random.stateless_uniform(tf.shape(like), (seed, 0), low, high)


def depthwise_conv(x: Tensor, kernel: Tensor, strides: Any, padding: str, dilations: Any) -> Tensor:
    """A depthwise convolution of images, channels last."""
    return tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), padding.upper(), dilations=dilations)


def pointwise_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """A 1 x 1 convolution of images, channels last."""
    return tf.nn.conv2d(x, kernel, 1, "VALID")


def bias_add(x: Tensor, bias: Tensor) -> Tensor:
    """Adds a number to each channel, channels last."""
    return tf.nn.bias_add(x, bias)


def give(receive: Callable[..., None], number: int, x: Tensor) -> None:
    """Calls `receive(number, values)` with a tensor's values when the graph that is built now runs."""
    tf.numpy_function(receive, [tf.constant(number, tf.int64), tf.cast(x, tf.float32)], [])
