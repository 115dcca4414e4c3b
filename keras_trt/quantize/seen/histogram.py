"""What a tensor's values were, in bounded memory and one pass: a histogram of their magnitudes."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

import numpy as np

from keras_trt._base.formats import STORED, TOP, dtype_of
from keras_trt.twins.fake_quant import TINY

BINS = 2048


@dataclass
class Histogram:
    """Counts of magnitudes in `BINS` equal bins over [0, top); `finite` turns false at the first NaN.

    `top` is the power of two above the largest magnitude, whatever came first: so the counts are the same for
    any order of the values, any batches of them, and for histograms of parts that are merged.

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
            else:
                self.counts[0] += magnitudes.size  # zeros, in whatever bins come
            self.total += magnitudes.size
            self.nonzero += nonzero
            self.sum += total
            self.squares += squares

    def merge(self, other: Histogram) -> None:
        """Counts what another histogram has counted, as if its values had been added here."""
        with self._lock:
            self.finite = self.finite and other.finite
            self.largest = max(self.largest, other.largest)
            self._widen(other.largest)
            self.counts += _coarser(other.counts, int(self.top / other.top) if other.top else 1)
            self.total += other.total
            self.nonzero += other.nonzero
            self.sum += other.sum
            self.squares += other.squares

    def _widen(self, largest: float) -> None:
        if self.top <= largest and largest > 0:
            # Among denormal numbers there are no 2048 bins.
            top = math.ldexp(1.0, math.frexp(max(largest, TINY))[1])
            self.counts = _coarser(self.counts, int(top / self.top) if self.top else 1)
            self.top = top

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


def _coarser(counts: np.ndarray, factor: int) -> np.ndarray:
    """The counts in bins that are `factor` times as wide, a power of two."""
    if factor >= BINS:
        return np.concatenate([counts.sum(keepdims=True), np.zeros(BINS - 1)])
    summed = counts.reshape(-1, factor).sum(axis=1)
    return np.concatenate([summed, np.zeros(BINS - len(summed))])


def _on_grid(steps: np.ndarray, format: str) -> np.ndarray:
    """Magnitudes in steps of the grid, rounded to its numbers and cut at its end."""
    cut = np.minimum(steps, TOP[format])
    return np.round(cut) if format == "int8" else cut.astype(dtype_of(STORED[format])).astype(np.float64)
