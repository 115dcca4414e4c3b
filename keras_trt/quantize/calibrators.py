"""From the values a tensor takes to its range: the calibration methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keras_trt._base.formats import TOP
from keras_trt.errors import InputError
from keras_trt.quantize.seen.histogram import BINS, Histogram
from keras_trt.twins.fake_quant import TINY

LEVELS = int(TOP["int8"]) + 1  # magnitudes an int8 can take


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
