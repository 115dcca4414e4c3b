"""The operators that this library's numbers are written in, as `keras.ops` has them on any backend.

What is not there is made of what is: gradients pass through a rounding where its value is held still and
nothing, with the wanted gradient, is added.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from keras.ops import (  # noqa: F401 - the table
    abs,
    cast,
    clip,
    cond,
    convert_to_tensor,
    einsum,
    isfinite,
    logical_and,
    matmul,
    max,
    maximum,
    min,
    ones_like,
    pad,
    reshape,
    round,
    shape,
    sign,
    size,
    softmax,
    sqrt,
    square,
    stack,
    stop_gradient,
    sum,
    tile,
    transpose,
    where,
    zeros_like,
)
from keras.ops import is_tensor as _is_tensor

from keras_trt._base.formats import INT8_ENDS, TOP
from keras_trt._keras.types import Tensor

nest = SimpleNamespace(
    flatten=keras.tree.flatten,
    map_structure=keras.tree.map_structure,
    pack_sequence_as=keras.tree.pack_sequence_as,
)


def is_tensor(x: object) -> bool:
    """Whether something is a tensor of the backend, with values or being traced."""
    return bool(_is_tensor(x))


def is_eager(*tensors: Any) -> bool:
    """Whether tensors have values now, and are not only being traced."""
    return not any(_is_traced(x) for x in tensors)


def _is_traced(x: Any) -> bool:
    if isinstance(x, keras.KerasTensor) or str(getattr(x, "device", "")) == "meta":
        return True
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.core.Tracer)


def is_float(x: Any) -> bool:
    """Whether a tensor holds floats."""
    return "float" in dtype_name(x)


def dtype_name(x: Any) -> str:
    """The name of a tensor's element type, e.g. `"float32"`."""
    return str(keras.backend.standardize_dtype(x.dtype))


def flat_tensors(nested: object) -> list[Any]:
    """The leaves of a nest as tensors."""
    return [convert_to_tensor(leaf) for leaf in keras.tree.flatten(nested)]


def to_numpy(x: Any) -> Any:
    """A tensor's values."""
    return keras.ops.convert_to_numpy(x)


def settled(compute: Callable[[], Any]) -> Any:
    """What a function of variables gives now, as numbers."""
    return to_numpy(compute())


def constant(value: Any, dtype: Any = None) -> Tensor:
    """A tensor of known numbers."""
    return convert_to_tensor(value, dtype)


def identity(x: Tensor) -> Tensor:
    """The tensor itself."""
    return x


def nearest_fp8(x: Tensor) -> Tensor:
    """The nearest number of E4M3 to each value that it reaches."""
    return cast(cast(x, "float8_e4m3fn"), x.dtype)


def nearest_int8(x: Tensor, amax: Tensor) -> Tensor:
    """The nearest number of the int8 grid of a range, by the product that TensorFlow's kernel rounds."""
    top = TOP["int8"]
    return clip(round(x * (top / amax)), *INT8_ENDS) * (amax / top)


def straight_through(
    rounding: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    amax: Tensor,
    slope: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
) -> Tensor:
    """`rounding(x, amax)` with the gradients that `tensorflow_ops.straight_through` describes."""
    still, range_ = stop_gradient(x), stop_gradient(amax)
    y = stop_gradient(rounding(still, range_))
    passed = y + where(abs(still) <= range_, x - still, zeros_like(x))
    return passed if slope is None else passed + stop_gradient(slope(still, y, range_)) * (amax - range_)


def all_through(rounding: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`rounding(x)`, with the upstream gradient for x."""
    return stop_gradient(rounding(stop_gradient(x))) + (x - stop_gradient(x))


def without_slope(x: Tensor, variable: Tensor) -> Tensor:
    """`x` itself, with a gradient of 0 for a variable that is of no effect for now."""
    return x + cast(0.0 * (variable - stop_gradient(variable)), x.dtype)


def product_with_transposed(a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices, the last two axes of the second exchanged."""
    return keras.ops.matmul(a, keras.ops.swapaxes(b, -1, -2))


def uniform(like: Tensor, seed: int, low: float, high: float) -> Tensor:
    """Random numbers of a tensor's shape; equal for equal seeds."""
    return keras.random.uniform(like.shape, low, high, seed=seed)


def depthwise_conv(x: Tensor, kernel: Tensor, strides: Any, padding: str, dilations: Any) -> Tensor:
    """A depthwise convolution of images, channels last."""
    return keras.ops.depthwise_conv(x, kernel, strides, padding.lower(), "channels_last", dilations)


def pointwise_conv(x: Tensor, kernel: Tensor) -> Tensor:
    """A 1 x 1 convolution of images, channels last."""
    return keras.ops.conv(x, kernel, 1, "valid", "channels_last")


def bias_add(x: Tensor, bias: Tensor) -> Tensor:
    """Adds a number to each channel, channels last."""
    return x + bias


def give(receive: Callable[..., None], number: int, x: Tensor) -> None:
    """Calls `receive(number, values)` with a tensor's values."""
    receive(number, np.asarray(to_numpy(cast(x, "float32"))))


if keras.config.backend() == "torch":
    from keras_trt._keras.backends.torch_kernels import nearest_int8, straight_through  # noqa: F401 - faster
