"""The rounding of activations on PyTorch, as one step of autograd (PyTorch, "Extending PyTorch").

PyTorch runs every operator of `keras.ops` by itself, forwards and backwards, each over all activations.
The numbers and gradients are those of `keras_ops`, in less than half the time on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from keras_trt._base.formats import INT8_ENDS, TOP

Rounding = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Slope = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def nearest_int8(x: torch.Tensor, amax: torch.Tensor) -> torch.Tensor:
    """As in `keras_ops`."""
    top = TOP["int8"]
    return x.mul(top / amax).round_().clamp_(*INT8_ENDS).mul_(amax / top)


def straight_through(
    rounding: Rounding, x: torch.Tensor, amax: torch.Tensor, slope: Slope | None
) -> torch.Tensor:
    """As in `tensorflow_ops`."""
    return _StraightThrough.apply(x, amax, rounding, slope)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, amax: torch.Tensor, rounding: Rounding, slope: Slope | None
    ) -> torch.Tensor:
        y = rounding(x, amax)
        ctx.slope = slope
        ctx.save_for_backward(x, amax, *(() if slope is None else (y,)))
        return y

    @staticmethod
    def backward(ctx: Any, *upstreams: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (upstream,), (x, amax, *rounded) = upstreams, ctx.saved_tensors
        passed = torch.where(x.abs() <= amax, upstream, 0.0)
        if ctx.slope is None:
            return passed, None, None, None
        return passed, (upstream * ctx.slope(x, *rounded, amax)).sum().reshape(amax.shape), None, None
