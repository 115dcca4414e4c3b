"""Mean and slope of what rounding takes from a layer's output channels, from sums over batches."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Moments:
    """First and second moments of pairs (rounded, lost) by channel, about their means; they add up.

    `lost` is exact - rounded. Arrays have shape (channels,).

    Attributes:
        count: Number of pairs.
        rounded: Mean of the rounded values.
        lost: Mean of what is lost.
        square: Sum of squares of the rounded values.
        product: Sum of products of both.
        noise: Sum of squares of what is lost.
    """

    count: int
    rounded: np.ndarray
    lost: np.ndarray
    square: np.ndarray
    product: np.ndarray
    noise: np.ndarray

    @classmethod
    def of(cls, rounded: np.ndarray, lost: np.ndarray) -> Moments:
        """Of arrays of shape (pairs, channels); at least one pair."""
        means = rounded.mean(axis=0, dtype=np.float64), lost.mean(axis=0, dtype=np.float64)
        x, y = rounded - means[0], lost - means[1]
        return cls(len(x), *means, (x * x).sum(axis=0), (x * y).sum(axis=0), (y * y).sum(axis=0))

    @classmethod
    def none(cls, channels: int) -> Moments:
        """Of no pair."""
        return cls(0, *(np.zeros(channels) for _ in range(5)))

    def __add__(self, other: Moments) -> Moments:
        """Of the pairs of both (Chan et al. 1979): sums of raw squares would lose the digits that count."""
        count = self.count + other.count
        share = other.count / max(count, 1)
        x, y = other.rounded - self.rounded, other.lost - self.lost
        weight = self.count * share
        return Moments(
            count,
            self.rounded + share * x,
            self.lost + share * y,
            self.square + other.square + weight * x * x,
            self.product + other.product + weight * x * y,
            self.noise + other.noise + weight * y * y,
        )

    def fit(self, gains: bool, shifts: bool) -> tuple[np.ndarray, np.ndarray]:
        """The gain and the shift that make `gain * rounded + shift` nearest to exact in squares."""
        gain, shift = np.zeros_like(self.lost), np.zeros_like(self.lost)
        if gains:
            about = 0.0 if shifts else self.count * self.rounded  # without a shift the line goes through 0
            square, product = self.square + about * self.rounded, self.product + about * self.lost
            np.divide(product, square, out=gain, where=square > 0)
        if shifts:
            shift = self.lost - gain * self.rounded
        return 1 + gain, shift

    def error(self, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The sum of squares of exact - (gain * rounded + shift), by channel."""
        more = gain - 1
        mean = self.lost - more * self.rounded - shift
        return self.noise - 2 * more * self.product + more * more * self.square + self.count * mean * mean


@dataclass
class ChannelFit:
    """The gains and shifts of a layer's output channels; may be added to from several threads.

    Attributes:
        shape: The shape of a shift, which broadcasts to the outputs' once their channels are last.
        axis: The axis of the channels.
    """

    shape: tuple[int, ...]
    axis: int = -1
    _rows: int = field(default=1, repr=False)
    _first: int = field(default=0, repr=False)
    _halves: list[Moments] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._halves = [Moments.none(math.prod(self.shape)) for _ in range(2)]

    def begin(self, rows: int, seen: int) -> None:
        """Tells how many rows of data the next calls of the layer come from, and how many there were."""
        self._rows, self._first = rows, seen

    def add(self, values: np.ndarray) -> None:
        """Counts in the exact and the rounded outputs of a call, stacked.

        The rows of the data go to two halves in turn, and with each all that the model has made of it: steps
        and windows that lie along the first axis belong to one row, as reshaping leaves them.
        """
        rounded, lost = values[1], values[0] - values[1]
        steps, rest = divmod(len(rounded), self._rows)
        row = np.arange(len(rounded)) // (1 if rest or not steps else steps)
        for half in range(2):
            own = (row + self._first) % 2 == half
            if rounded[own].size:
                moments = Moments.of(self._by_channel(rounded[own]), self._by_channel(lost[own]))
                with self._lock:
                    self._halves[half] += moments

    def _by_channel(self, values: np.ndarray) -> np.ndarray:
        """As (pairs, channels); axes that the shift is the same along are among the pairs."""
        values = np.moveaxis(values, self.axis, -1)
        before = values.ndim - len(self.shape)
        channel_axes = [before + i for i, size in enumerate(self.shape) if size > 1]
        summed = [i for i in range(values.ndim) if i not in channel_axes]
        return values.transpose(*summed, *channel_axes).reshape(-1, math.prod(self.shape))

    def value(
        self, gains: bool, shifts: bool, bias: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gains and shifts of this shape; 1 and 0 where none is finite.

        A channel has a gain where one fitted on half of the rows makes the other half's error less than no
        gain, both ways round.

        Args:
            gains: Whether gains are wanted.
            shifts: Whether shifts are.
            bias: What the outputs hold that no gain multiplies, of this shape.
        """
        if bias is not None and gains:
            whole = np.ravel(bias).astype(np.float64)
            halves = [replace(half, rounded=half.rounded - whole) for half in self._halves]
        else:
            halves = self._halves
        both = halves[0] + halves[1]
        gain, shift = both.fit(gains, shifts)
        if gains:
            without = both.fit(False, shifts)
            better = _unseen(halves, gains, shifts) < _unseen(halves, False, shifts)
            gain, shift = (np.where(better, a, b) for a, b in zip((gain, shift), without, strict=True))
        finite = np.isfinite(gain) & np.isfinite(shift)
        return (
            np.where(finite, gain, 1.0).reshape(self.shape),
            np.where(finite, shift, 0.0).reshape(self.shape),
        )


def _unseen(halves: list[Moments], gains: bool, shifts: bool) -> np.ndarray:
    """The error by channel on each half of what the other half makes the best."""
    first, second = halves
    return first.error(*second.fit(gains, shifts)) + second.error(*first.fit(gains, shifts))
