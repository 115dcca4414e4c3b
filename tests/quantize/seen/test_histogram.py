"""Histograms are the same whatever order, batches and parts their values come in."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from keras_trt.quantize.calibrators import calibrator
from keras_trt.quantize.seen.histogram import Histogram

VALUES = np.random.default_rng(0).standard_t(3, 5000).astype("float32")
VALUES[:40] = np.exp2(np.arange(40) % 7 - 3)  # powers of two lie on the bins' edges
BLOCKS = (
    VALUES[:7] * 1e-3,
    np.zeros(50, "float32"),
    VALUES[7:1000],
    VALUES[1000:] * 30,
    np.zeros(0, "float32"),
)


def seen(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def merged(*parts):
    whole = Histogram()
    for part in parts:
        whole.merge(part)
    return whole


def check_same(one, other):
    np.testing.assert_array_equal(one.counts, other.counts)
    exact = ("top", "largest", "total", "nonzero", "finite")
    assert [getattr(one, name) for name in exact] == [getattr(other, name) for name in exact]
    assert (one.sum, one.squares) == pytest.approx((other.sum, other.squares), rel=1e-12)


def test_any_order_and_any_parts_are_one_pass():
    whole = seen(np.concatenate(BLOCKS))
    assert whole.counts.sum() == whole.total == 5050
    for order in itertools.permutations(BLOCKS):
        check_same(seen(*order), whole)
        check_same(merged(*map(seen, order)), whole)
    check_same(merged(seen(*BLOCKS[:2]), seen(*BLOCKS[2:])), whole)


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse"])
def test_ranges_are_bitwise_those_of_one_pass(method):
    amax = calibrator(method).amax
    want = amax(seen(np.concatenate(BLOCKS)))
    assert all(amax(merged(*map(seen, order))) == want for order in itertools.permutations(BLOCKS))


def test_bins_are_where_they_are_said_to_be():
    histogram = seen(np.array([0.0, 0.5, -0.75, 1.0], "float32"))
    assert histogram.top == 2.0  # above the largest
    assert np.flatnonzero(histogram.counts).tolist() == [0, 512, 768, 1024]


@pytest.mark.parametrize("scale", [1e-45, 1e-35, 1e-20, 3e38])
def test_magnitudes_at_the_ends_of_float32_merge(scale):
    values = (np.linspace(0, 1, 999) * scale).astype("float32")
    check_same(merged(seen(values[:10]), seen(values[10:])), seen(values))


def test_one_part_that_is_not_finite_makes_the_whole_so():
    assert not merged(seen(VALUES), seen(np.array([np.nan], "float32"))).finite
