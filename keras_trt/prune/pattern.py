"""The shape that zeros take: what `pattern=` means."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from keras_trt._base.arguments import is_whole
from keras_trt._keras.kernels import Kernel
from keras_trt.errors import InputError
from keras_trt.prune.masks import block_mask, magnitude_mask, n_of_m_mask

_ACCEPTED = '"unstructured", "2:4" (or any "n:m"), a (rows, cols) pair, or "channel"'


@dataclass(frozen=True)
class Unstructured:
    """Single weights anywhere."""

    name: str = "unstructured"

    def unfit(self, shape: tuple[int, ...], kernel: Kernel, *, by_hand: bool) -> str | None:
        """Why the pattern cannot be used on a variable, or None."""
        return None if int(np.prod(shape)) > 1 else "a single weight cannot be pruned"

    def mask(self, weights: np.ndarray, kernel: Kernel, sparsity: float) -> np.ndarray:
        """The mask (False where pruned) of one variable."""
        return magnitude_mask(np.abs(weights), sparsity)


@dataclass(frozen=True)
class NofM:
    """At most `n` of every `m` consecutive input channels are non-zero (2:4: sparse tensor cores)."""

    n: int
    m: int

    @property
    def name(self) -> str:
        """As the user writes it, e.g. `"2:4"`."""
        return f"{self.n}:{self.m}"

    def unfit(self, shape: tuple[int, ...], kernel: Kernel, *, by_hand: bool) -> str | None:
        """Why the pattern cannot be used on a variable, or does not pay unless asked for by hand."""
        if not kernel.input_axes:
            return f"{self.name} runs along input channels, and each output here sees only one"
        inputs = shape[kernel.input_axes[-1]]
        if inputs % self.m:
            return f"{inputs} input channels are not a multiple of {self.m}"
        outputs = int(np.prod([shape[axis] for axis in kernel.channel_axes]))
        if not by_hand and (self.n, self.m) == (2, 4) and (inputs % 16 or outputs % 8):
            return (
                f"2:4 pays only with input channels % 16 == 0 and output channels % 8 == 0, here "
                f"{inputs} and {outputs}; name the layer in `only` to prune it all the same"
            )
        return None

    def mask(self, weights: np.ndarray, kernel: Kernel, sparsity: float) -> np.ndarray:
        """The mask (False where pruned) of one variable; `sparsity` follows from the pattern."""
        return n_of_m_mask(weights, self.n, self.m, kernel.input_axes[-1])


@dataclass(frozen=True)
class Block:
    """Whole (rows, cols) blocks of the (inputs, outputs) matrix of a variable."""

    rows: int
    cols: int
    pooling: str = "avg"

    @property
    def name(self) -> str:
        """As reports write it, e.g. `"4x1"`, or `"4x1 max"` for pooling by the maximum."""
        return f"{self.rows}x{self.cols}" + (" max" if self.pooling == "max" else "")

    def unfit(self, shape: tuple[int, ...], kernel: Kernel, *, by_hand: bool) -> str | None:
        """Why the pattern cannot be used on a variable, or None."""
        outputs = int(np.prod([shape[axis] for axis in kernel.channel_axes]))
        inputs = int(np.prod(shape)) // outputs
        if inputs < self.rows or outputs < self.cols or (inputs, outputs) == (self.rows, self.cols):
            return f"a {inputs}x{outputs} matrix is too small for {self.name} blocks"
        return None

    def mask(self, weights: np.ndarray, kernel: Kernel, sparsity: float) -> np.ndarray:
        """The mask (False where pruned) of one variable."""
        axes = tuple(axis % weights.ndim for axis in kernel.channel_axes)
        last = tuple(range(weights.ndim - len(axes), weights.ndim))
        moved = np.moveaxis(weights, axes, last)
        outputs = int(np.prod(moved.shape[last[0] :]))
        flat = block_mask(moved.reshape(-1, outputs), sparsity, (self.rows, self.cols), self.pooling)
        return np.moveaxis(flat.reshape(moved.shape), last, axes)


Pattern = Unstructured | NofM | Block


def parse_pattern(pattern: object, pooling: str = "avg") -> Pattern:
    """The pattern object for what a user wrote.

    Args:
        pattern: `"unstructured"`, `"n:m"`, or (rows, cols).
        pooling: For blocks, `"avg"` or `"max"`.

    Raises:
        InputError: Anything else.
    """
    if isinstance(pattern, Unstructured | NofM | Block):
        return pattern
    if not isinstance(pooling, str) or pooling.lower() not in ("avg", "max"):
        raise InputError(f'`pooling` must be "avg" or "max". Received: pooling={pooling!r}')
    if pattern == "unstructured":
        return Unstructured()
    if isinstance(pattern, str) and (match := re.fullmatch(r"(\d+):(\d+)", pattern)):
        n, m = int(match[1]), int(match[2])
        if not 0 < n < m:
            raise InputError(
                f'`pattern="n:m"` keeps n of every m weights, so 0 < n < m. Received: pattern={pattern!r}'
            )
        return NofM(n, m)
    if isinstance(pattern, str) and (match := re.fullmatch(r"(\d+)x(\d+)( max)?", pattern)):
        pattern, pooling = (int(match[1]), int(match[2])), "max" if match[3] else pooling
    if isinstance(pattern, (tuple, list)) and len(pattern) == 2:
        if all(is_whole(size) and size > 0 for size in pattern):
            return Block(int(pattern[0]), int(pattern[1]), pooling.lower())
        raise InputError(f"Block sizes must be positive integers. Received: pattern={pattern!r}")
    raise InputError(f"`pattern` must be {_ACCEPTED}. Received: pattern={pattern!r}")
