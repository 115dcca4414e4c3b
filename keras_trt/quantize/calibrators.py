"""From the values a tensor takes to its range: the calibration methods.

Values are gathered in a histogram of magnitudes whose range doubles when it must, so memory is bounded
and one pass over the data is enough.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from keras_trt._formats import STORED, TOP, dtype_of
from keras_trt.errors import InputError
from keras_trt.twins.fake_quant import TINY

BINS = 2048
LEVELS = int(TOP["int8"]) + 1  # magnitudes an int8 can take


@dataclass
class Histogram:
    """Counts of magnitudes in `BINS` equal bins over [0, top]; `finite` turns false at the first NaN.

    `format` is that of the grid whose range is looked for. Arrays may be added from several threads:
    TensorFlow runs the calls of a shared layer side by side.
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    top: float = 0.0
    largest: float = 0.0
    total: int = 0
    nonzero: int = 0
    sum: float = 0.0
    squares: float = 0.0
    finite: bool = True
    format: str = "int8"
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, values: np.ndarray) -> None:
        """Counts the magnitudes of an array of any shape."""
        if not np.isfinite(values).all():
            self.finite = False
            return
        magnitudes = np.abs(values, dtype=np.float32).ravel()
        largest = float(magnitudes.max(initial=0.0))
        if largest * BINS > float(np.finfo(np.float32).max):
            magnitudes = magnitudes.astype(np.float64)  # the bins' numbers would overflow
        total, squares = (
            float(values.sum(dtype=np.float64)),
            float(np.square(magnitudes, dtype=np.float64).sum()),
        )
        nonzero = int(np.count_nonzero(magnitudes))
        with self._lock:
            self.largest = max(self.largest, largest)
            self._widen(largest)
            if self.top > 0:
                self.counts += np.histogram(magnitudes, bins=BINS, range=(0.0, self.top))[0]
            self.total += magnitudes.size
            self.nonzero += nonzero
            self.sum += total
            self.squares += squares

    def _widen(self, largest: float) -> None:
        if self.top == 0 < largest:
            self.top = max(largest, TINY)  # among denormal numbers there are no 2048 bins
        while self.top < largest:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(1), np.zeros(BINS // 2)])
            self.top *= 2

    def error(self, amax: np.ndarray) -> np.ndarray:
        """The mean squared error of rounding to the grids of ranges, of shape (ranges,)."""
        scales = np.asarray(amax, np.float64)[:, None] / TOP[self.format]
        rounded = _on_grid(self.centers / scales, self.format) * scales
        squares: np.ndarray = (self.counts * np.square(rounded - self.centers)).sum(axis=1)
        return squares / max(self.counts.sum(), 1.0)

    @property
    def tensor(self) -> tuple[float, ...]:
        """What is equal for histograms of the same tensor, and hardly for two others."""
        return self.total, self.nonzero, self.sum, self.squares, self.largest

    @property
    def centers(self) -> np.ndarray:
        """The middle of each bin."""
        return (np.arange(BINS) + 0.5) * (self.top / BINS)


class Calibrator(Protocol):
    """Turns a histogram into a range."""

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        ...


@dataclass(frozen=True)
class Max:
    """The largest magnitude seen; nothing is clipped."""

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        return seen.largest


@dataclass(frozen=True)
class Percentile:
    """The magnitude that `percentile` % of the values stay under; robust to outliers."""

    percentile: float = 99.99

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise InputError(f"A percentile lies in (0, 100]. Received: percentile={self.percentile}")

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        share = np.cumsum(seen.counts) / max(seen.counts.sum(), 1.0)
        edge = int(np.searchsorted(share, self.percentile / 100.0)) + 1
        return min(edge * seen.top / BINS, seen.largest)


@dataclass(frozen=True)
class MSE:
    """The range with the smallest mean squared quantisation error."""

    candidates: int = 200

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        if seen.largest < TINY:
            return seen.largest
        tops = np.linspace(seen.largest / self.candidates, seen.largest, self.candidates)
        return float(tops[int(np.argmin(seen.error(tops)))])


@dataclass(frozen=True)
class Halfway:
    """The middle of the largest magnitude and the range of the smallest mean squared error."""

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        return (seen.largest + MSE().amax(seen)) / 2


@dataclass(frozen=True)
class Entropy:
    """The range that loses least information (Kullback-Leibler; Migacz, "8-bit inference", GTC 2017).

    The divergence of what is left compares shapes and not amounts: where the values lie far from zero it is
    0 for a range that keeps one value alone. So ranges that clip more than 1 % of the values are not tried.
    """

    step: int = 16
    kept: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.kept <= 1:
            raise InputError(f"`kept` is a share of the values, 0 to 1. Received: kept={self.kept}")

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        counts = seen.counts.copy()
        counts[0] = counts[1]  # ReLU's zeros are exact in any range; counted, they hide what clipping loses
        ends = np.arange(LEVELS, BINS + 1, self.step)
        ends = ends[np.minimum(_share(counts, ends), _share(seen.counts, ends)) >= self.kept]
        losses = [_divergence(counts, int(end)) for end in ends]
        return min(float(ends[int(np.argmin(losses))]) * seen.top / BINS, seen.largest)


@dataclass(frozen=True)
class Std:
    """`|mean| + k * std`: as far as `k` standard deviations from the mean, the range lying about zero.

    The old example's `q = 1 / std` with what it forgot: the mean and a factor. Both are those of the values
    other than zero: a ReLU's zeros are exact in any range; counted, they would cut its few large values. At
    `k = 6` long tails are kept; where no value is that far out, the largest magnitude is the range.
    """

    k: float = 6.0

    def __post_init__(self) -> None:
        if self.k <= 0:
            raise InputError(f"`k` counts standard deviations and must be > 0. Received: k={self.k}")

    def amax(self, seen: Histogram) -> float:
        """The largest magnitude to keep."""
        count = max(seen.nonzero, 1)
        mean = seen.sum / count
        variance = max(seen.squares / count - mean**2, 0.0)
        return min(abs(mean) + self.k * variance**0.5, seen.largest) or seen.largest


@dataclass(frozen=True)
class Auto:
    """Of the ranges of several calibrators, for each tensor the one that costs its layer's outputs least.

    Attributes:
        candidates: The calibrators; the first is taken where they make no difference.
    """

    candidates: tuple[Calibrator, ...] = (Max(), Halfway(), MSE(), Percentile())

    def __post_init__(self) -> None:
        if not self.candidates or not all(hasattr(each, "amax") for each in self.candidates):
            raise InputError(
                "`candidates` are calibrators, one at least, such as `(Max(), MSE())`. "
                f"Received: candidates={self.candidates!r}"
            )


METHODS: dict[str, Calibrator | Auto] = {
    "auto": Auto(),
    "max": Max(),
    "percentile": Percentile(),
    "entropy": Entropy(),
    "mse": MSE(),
    "std": Std(),
}


def calibrator(method: object) -> Calibrator | Auto:
    """The calibrator a name stands for; a calibrator object is returned as it is.

    Raises:
        InputError: An unknown name.
    """
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    if not isinstance(method, str) and (isinstance(method, Auto) or hasattr(method, "amax")):
        return method
    raise InputError(
        f"`method` must be one of {sorted(METHODS)} or a calibrator. Received: method={method!r}"
    )


def _on_grid(steps: np.ndarray, format: str) -> np.ndarray:
    """Magnitudes in steps of the grid, rounded to its numbers and cut at its end."""
    cut = np.minimum(steps, TOP[format])
    return np.round(cut) if format == "int8" else cut.astype(dtype_of(STORED[format])).astype(np.float64)


def _share(counts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The share of the counts before each end; all of them where nothing is counted."""
    total = counts.sum()
    share: np.ndarray = np.cumsum(counts)[ends - 1] / total if total else np.ones(len(ends))
    return np.where(ends == len(counts), 1.0, share)


def _divergence(counts: np.ndarray, end: int) -> float:
    """KL divergence between the histogram clipped at `end` and its quantisation to `LEVELS` levels."""
    inside = counts[:end]
    reference = inside.copy()
    reference[-1] += counts[end:].sum()
    level = np.minimum(np.arange(end) * LEVELS // end, LEVELS - 1)
    sums = np.bincount(level, weights=inside, minlength=LEVELS)
    used = np.bincount(level, weights=(inside > 0).astype(float), minlength=LEVELS)
    spread = np.where(inside > 0, (sums / np.maximum(used, 1))[level], 0.0)
    p, q = reference / max(reference.sum(), 1e-30), spread / max(spread.sum(), 1e-30)
    mask = p > 0
    return float(np.sum(p[mask] * np.log(p[mask] / np.maximum(q[mask], 1e-12))))
