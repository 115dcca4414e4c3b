"""Fake quantisation: float in, float out, the values on the grid TensorRT will use.

Symmetric only, with `scale = amax / top` and zero point 0 (TensorRT, "Quantization Schemes"):

* int8: `q = clip(round(x / scale), -128, 127)`, rounding half to even, `top = 127`;
* fp8: the nearest E4M3 number to `x / scale`, `top = 448`;
* int4: `q = clip(round(x / scale), -7, 7)`, `top = 7`, weights only, one scale per block.

Gradients pass straight through the rounding; for activations only inside the range (Jacob et al. 2018).
A learned range gets the gradient of `scale * round(x / scale)` by `amax` (LSQ, Esser et al. 2020).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import ModuleType

from keras_trt._base.formats import TOP
from keras_trt._keras.types import Tensor

TINY = 1e-30  # smallest range: a scale must never be 0, nor its inverse infinite


def fake_quantize(
    ops: ModuleType, x: Tensor, amax: Tensor, dtype: str = "int8", learned: bool = False
) -> Tensor:
    """Quantises an activation with one scale.

    Args:
        ops: The operators of their backend.
        x: Float tensor of any shape and float dtype.
        amax: Float32 scalar tensor > 0, the largest magnitude kept.
        dtype: `"int8"` or `"fp8"`.
        learned: Whether `amax` gets a gradient.

    Returns:
        A tensor of the shape and dtype of `x`. The same op is exported, so Keras and the engine round alike.
    """
    rounding = functools.partial(quantize_dequantize, ops, dtype=dtype)
    slope = functools.partial(_range_slope, ops) if learned else None
    return ops.cast(ops.straight_through(rounding, ops.cast(x, "float32"), amax, slope), x.dtype)


def quantize_dequantize(ops: ModuleType, x: Tensor, amax: Tensor, dtype: str = "int8") -> Tensor:
    """The bare rounding: float32 in and out, no gradient. tf2onnx writes the int8 op as Q/DQ."""
    if dtype == "int8":
        return ops.nearest_int8(x, amax)
    scale = amax / TOP[dtype]
    return _to_grid(ops, x / scale, dtype) * scale


def jittered(
    ops: ModuleType, x: Tensor, amax: Tensor, dtype: str, jitter: tuple[float, int] | None
) -> Tensor:
    """`x` moved at random by a share of the grid's step: as another order of summing moves it, but more.

    Args:
        ops: The operators of their backend.
        x: Float tensor.
        amax: Float32 scalar tensor, its range.
        dtype: `"int8"` or `"fp8"`.
        jitter: (largest share of a step, seed); None leaves `x` as it is.
    """
    if jitter is None:
        return x
    steps, seed = jitter
    step = amax / TOP[dtype]
    if dtype == "fp8":  # three bits behind the leading one
        step = ops.maximum(ops.abs(ops.cast(x, "float32")) / 8, step / 512)
    return x + ops.cast(ops.uniform(x, seed, -steps, steps) * step, x.dtype)


def fake_quantize_weights(
    ops: ModuleType,
    weights: Tensor,
    channel_axes: Sequence[int],
    dtype: str = "int8",
    block: int | None = None,
) -> Tensor:
    """Quantises a kernel with one scale per output channel, `max|w| / top`.

    Args:
        ops: The operators of its backend.
        weights: Float tensor.
        channel_axes: The axes of the output channels; all others are reduced over.
        dtype: `"int8"`, `"fp8"` or `"int4"`.
        block: With a block, the inputs (all other axes, first to last) are cut into blocks of that many, each
            with scales of its own.

    Returns:
        A tensor of the same shape and dtype. A channel of zeros stays zero.
    """
    rounding = functools.partial(quantize_weights, ops, channel_axes=channel_axes, dtype=dtype, block=block)
    return ops.all_through(rounding, weights)


def quantize_weights(
    ops: ModuleType, w: Tensor, channel_axes: Sequence[int], dtype: str, block: int | None = None
) -> Tensor:
    """The bare rounding of `fake_quantize_weights`, no gradient."""
    return _by_scale(ops, w, channel_axes, block, functools.partial(_on_one_grid, ops, dtype=dtype))


def weight_scales(
    ops: ModuleType, w: Tensor, channel_axes: Sequence[int], dtype: str, block: int | None = None
) -> Tensor:
    """The step of the grid at each weight, of the weights' shape."""

    def scales(w: Tensor, axes: Sequence[int]) -> Tensor:
        return _scale(ops, w, axes, dtype) * ops.ones_like(w)

    return _by_scale(ops, w, channel_axes, block, scales)


def _by_scale(
    ops: ModuleType,
    w: Tensor,
    channel_axes: Sequence[int],
    block: int | None,
    function: Callable[[Tensor, Sequence[int]], Tensor],
) -> Tensor:
    """What a function gives of weights, in a shape in which those along some axes have one scale."""
    rank = len(w.shape)
    channels = {axis % rank for axis in channel_axes}
    inputs = [axis for axis in range(rank) if axis not in channels]
    if block is None:
        return function(w, inputs)
    order = [*inputs, *sorted(channels)]  # the engine's matrix: inputs down, outputs across
    ordered = ops.transpose(w, order)
    blocks = ops.reshape(ordered, (-1, block, *ordered.shape[len(inputs) :]))
    rounded = ops.reshape(function(blocks, [1]), ordered.shape)
    return ops.transpose(rounded, [order.index(axis) for axis in range(len(order))])


def _on_one_grid(ops: ModuleType, w: Tensor, axes: Sequence[int], dtype: str) -> Tensor:
    """Rounds with one scale for all values along `axes`."""
    scale = _scale(ops, w, axes, dtype)
    return _to_grid(ops, w / scale, dtype) * scale


def _scale(ops: ModuleType, w: Tensor, axes: Sequence[int], dtype: str) -> Tensor:
    amax = ops.max(ops.abs(w), axis=axes, keepdims=True)
    return ops.where(amax > 0, amax / TOP[dtype], ops.ones_like(amax))


def _to_grid(ops: ModuleType, steps: Tensor, dtype: str) -> Tensor:
    """The nearest grid point to each value, both counted in scales."""
    if dtype == "fp8":
        return ops.nearest_fp8(ops.clip(steps, -TOP["fp8"], TOP["fp8"]))  # beyond it the cast gives NaN
    return ops.clip(ops.round(steps), -TOP[dtype] - (dtype == "int8"), TOP[dtype])


def _range_slope(ops: ModuleType, x: Tensor, y: Tensor, amax: Tensor) -> Tensor:
    """d/d amax: `(y - x) / amax` inside the range, its sign outside; scaled down as LSQ advises."""
    slope = ops.where(ops.abs(x) <= amax, (y - x) / amax, ops.sign(x))
    count = ops.cast(ops.size(x), "float32")
    return slope / ops.sqrt(count * TOP["int8"])
