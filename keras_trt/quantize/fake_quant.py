"""Fake quantisation: float in, float out, the values on the integer grid TensorRT will use.

Symmetric only: `scale = amax / 127`, `q = clip(round(x / scale), -128, 127)`, `x' = q * scale`, rounding
half to even, zero point 0 (TensorRT, "Quantization Schemes"). Gradients pass straight through the
rounding, and for activations only inside the range (Jacob et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

QMAX = 127.0
TINY = 1e-6  # smallest range: a scale must never be 0


def fake_quantize(x: Any, amax: Any) -> Any:
    """Quantises an activation with one scale.

    Args:
        x: Float tensor of any shape and float dtype.
        amax: Float32 scalar tensor > 0, the largest magnitude kept.

    Returns:
        A tensor of the shape and dtype of `x`. The same op is exported, so Keras and the engine round alike.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def straight_through(x: Any, amax: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, None]:
            return tf.where(tf.abs(x) <= amax, upstream, tf.zeros_like(upstream)), None

        return quantize_dequantize(x, amax), gradient

    return tf.cast(straight_through(tf.cast(x, tf.float32), amax), x.dtype)


def quantize_dequantize(x: Any, amax: Any) -> Any:
    """The bare op: float32 in and out, no gradient. tf2onnx writes it as int8 Q/DQ."""
    import tensorflow as tf

    return tf.raw_ops.QuantizeAndDequantizeV2(input=x, input_min=-amax, input_max=amax, range_given=True)


def fake_quantize_weights(weights: Any, channel_axes: Sequence[int]) -> Any:
    """Quantises a kernel with one scale per output channel, `max|w| / 127`.

    Args:
        weights: Float tensor.
        channel_axes: The axes of the output channels; all others are reduced over.

    Returns:
        A tensor of the same shape and dtype. A channel of zeros stays zero.
    """
    import tensorflow as tf

    channels = {axis % len(weights.shape) for axis in channel_axes}
    reduced = [axis for axis in range(len(weights.shape)) if axis not in channels]

    @tf.custom_gradient
    def straight_through(w: Any) -> Any:
        amax = tf.reduce_max(tf.abs(w), axis=reduced, keepdims=True)
        scale = tf.where(amax > 0, amax / QMAX, tf.ones_like(amax))
        return tf.round(w / scale) * scale, lambda upstream: upstream

    return straight_through(weights)
