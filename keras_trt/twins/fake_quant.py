"""Fake quantisation: float in, float out, the values on the grid TensorRT will use.

Symmetric only, with `scale = amax / top` and zero point 0 (TensorRT, "Quantization Schemes"):

* int8: `q = clip(round(x / scale), -128, 127)`, rounding half to even, `top = 127`;
* fp8: the nearest E4M3 number to `x / scale`, `top = 448`;
* int4: `q = clip(round(x / scale), -7, 7)`, `top = 7`, weights only, one scale per block.

Gradients pass straight through the rounding; for activations only inside the range (Jacob et al. 2018).
A learned range gets the gradient of `scale * round(x / scale)` by `amax` (LSQ, Esser et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from keras_trt._formats import TOP
from keras_trt._keras.types import Tensor

TINY = 1e-30  # smallest range: a scale must never be 0, nor its inverse infinite


def fake_quantize(x: Tensor, amax: Tensor, dtype: str = "int8", learned: bool = False) -> Any:
    """Quantises an activation with one scale.

    Args:
        x: Float tensor of any shape and float dtype.
        amax: Float32 scalar tensor > 0, the largest magnitude kept.
        dtype: `"int8"` or `"fp8"`.
        learned: Whether `amax` gets a gradient.

    Returns:
        A tensor of the shape and dtype of `x`. The same op is exported, so Keras and the engine round alike.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def straight_through(x: Tensor, amax: Tensor) -> Any:
        y = quantize_dequantize(x, amax, dtype)

        def gradient(upstream: Tensor) -> tuple[Any, Any]:
            passed = _inside_only(tf, x, amax, upstream)
            return passed, _range_gradient(tf, x, y, amax, upstream) if learned else None

        return y, gradient

    return tf.cast(straight_through(tf.cast(x, tf.float32), amax), x.dtype)


def quantize_dequantize(x: Tensor, amax: Tensor, dtype: str = "int8") -> Tensor:
    """The bare rounding: float32 in and out, no gradient. tf2onnx writes the int8 op as Q/DQ."""
    import tensorflow as tf

    if dtype == "int8":
        return tf.raw_ops.QuantizeAndDequantizeV2(input=x, input_min=-amax, input_max=amax, range_given=True)
    scale = amax / TOP[dtype]
    return _to_grid(tf, x / scale, dtype) * scale


def jittered(x: Tensor, amax: Tensor, dtype: str, jitter: tuple[float, int] | None) -> Tensor:
    """`x` moved at random by a share of the grid's step: as another order of summing moves it, but more.

    Args:
        x: Float tensor.
        amax: Float32 scalar tensor, its range.
        dtype: `"int8"` or `"fp8"`.
        jitter: (largest share of a step, seed); None leaves `x` as it is.
    """
    import tensorflow as tf

    if jitter is None:
        return x
    steps, seed = jitter
    step = amax / TOP[dtype]
    if dtype == "fp8":  # three bits behind the leading one
        step = tf.maximum(tf.abs(tf.cast(x, tf.float32)) / 8, step / 512)
    noise = tf.random.stateless_uniform(tf.shape(x), (seed, 0), -steps, steps)
    return x + tf.cast(noise * step, x.dtype)


def fake_quantize_weights(
    weights: Tensor, channel_axes: Sequence[int], dtype: str = "int8", block: int | None = None
) -> Any:
    """Quantises a kernel with one scale per output channel, `max|w| / top`.

    Args:
        weights: Float tensor.
        channel_axes: The axes of the output channels; all others are reduced over.
        dtype: `"int8"`, `"fp8"` or `"int4"`.
        block: With a block, the inputs (all other axes, first to last) are cut into blocks of that many, each
            with scales of its own.

    Returns:
        A tensor of the same shape and dtype. A channel of zeros stays zero.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def straight_through(w: Tensor) -> Any:
        return quantize_weights(w, channel_axes, dtype, block), lambda upstream: upstream

    return straight_through(weights)


def quantize_weights(w: Any, channel_axes: Sequence[int], dtype: str, block: int | None = None) -> Any:
    """The bare rounding of `fake_quantize_weights`, no gradient."""
    import tensorflow as tf

    channels = {axis % len(w.shape) for axis in channel_axes}
    inputs = [axis for axis in range(len(w.shape)) if axis not in channels]
    if block is None:
        return _on_one_grid(tf, w, inputs, dtype)
    order = [*inputs, *sorted(channels)]  # the engine's matrix: inputs down, outputs across
    ordered = tf.transpose(w, order)
    blocks = tf.reshape(ordered, (-1, block, *ordered.shape[len(inputs) :]))
    rounded = tf.reshape(_on_one_grid(tf, blocks, [1], dtype), ordered.shape)
    return tf.transpose(rounded, [order.index(axis) for axis in range(len(order))])


def _on_one_grid(tf: ModuleType, w: Tensor, axes: Sequence[int], dtype: str) -> Tensor:
    """Rounds with one scale for all values along `axes`."""
    amax = tf.reduce_max(tf.abs(w), axis=axes, keepdims=True)
    scale = tf.where(amax > 0, amax / TOP[dtype], tf.ones_like(amax))
    return _to_grid(tf, w / scale, dtype) * scale


def _to_grid(tf: ModuleType, steps: Tensor, dtype: str) -> Tensor:
    """The nearest grid point to each value, both counted in scales."""
    if dtype == "fp8":
        clipped = tf.clip_by_value(steps, -TOP["fp8"], TOP["fp8"])  # beyond it the cast gives NaN
        return tf.cast(tf.cast(clipped, tf.dtypes.experimental.float8_e4m3fn), steps.dtype)
    return tf.clip_by_value(tf.round(steps), -TOP[dtype] - (dtype == "int8"), TOP[dtype])


def _inside_only(tf: ModuleType, x: Tensor, amax: Tensor, upstream: Tensor) -> Tensor:
    """`upstream` where `|x| <= amax`, else 0; on CPUs in half the time of a comparison and a select.

    ReLU's gradient passes where its input is > 0; the next float after `amax` makes the border count.
    """
    return tf.raw_ops.ReluGrad(gradients=upstream, features=tf.math.nextafter(amax, math.inf) - tf.abs(x))


def _range_gradient(tf: ModuleType, x: Tensor, y: Tensor, amax: Tensor, upstream: Tensor) -> Tensor:
    """d/d amax: `(y - x) / amax` inside the range, its sign outside; scaled down as LSQ advises."""
    slope = tf.where(tf.abs(x) <= amax, (y - x) / amax, tf.sign(x))
    count = tf.cast(tf.size(x), tf.float32)
    return tf.reduce_sum(upstream * slope) / tf.sqrt(count * TOP["int8"])
