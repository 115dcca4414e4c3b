"""Halves of the rows of data, by which a gain is judged on rows that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.quantize.recovery.channel_moments import ChannelFit


def fit_of(batches, rows):
    """A fit to which a layer's (exact, rounded) outputs were given, made of so many rows of data each."""
    fit, seen = ChannelFit((2,)), 0
    for values, count in zip(batches, rows, strict=True):
        fit.begin(count, seen)
        fit.add(values)
        seen += count
    return fit


def of_rows(values, halves):
    """What the fit of two halves is, given as the rows of each."""
    fit = ChannelFit((2,))
    for half, rows in enumerate(halves):
        fit.begin(1, half)
        fit.add(values[:, rows])
    return fit


@pytest.mark.parametrize(
    ("rows", "halves"),
    [
        ((12,), [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]),
        ((4,), [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]]),  # three steps of each row
        ((2,), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]),
        ((5,), [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]),  # no whole number of steps
        ((24,), [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]),  # fewer than rows: some were picked
    ],
)
def test_what_is_made_of_one_row_of_data_stays_in_one_half(rows, halves, rng):
    values = rng.normal(size=(2, 12, 2))
    found, expected = fit_of([values], rows), of_rows(values, halves)
    for a, b in zip(found._halves, expected._halves, strict=True):
        for name in ("count", "rounded", "lost", "square", "product", "noise"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-12)


@pytest.mark.parametrize("size", [1, 3])
def test_batches_go_on_where_the_last_one_ended(size, rng):
    values = rng.normal(size=(2, 12, 2))
    batches = np.split(values, 12 // size, axis=1)
    found, expected = fit_of(batches, [size] * len(batches)), fit_of([values], [12])
    for a, b in zip(found._halves, expected._halves, strict=True):
        assert a.count == b.count == 6
        np.testing.assert_allclose(a.product, b.product, atol=1e-12)


def test_a_gain_that_one_row_of_data_makes_is_none(rng):
    """Its steps are alike; split between the halves they would vouch for one another."""
    exact = np.concatenate([np.full((50, 2), 8.0), rng.normal(size=(150, 2))])  # the first of four rows
    rounded = np.concatenate([np.full((50, 2), 6.0), exact[50:]])
    values = np.stack([exact, rounded])
    gain, _ = fit_of([values], [4]).value(gains=True, shifts=False)
    assert (gain == 1).all()
    gain, _ = fit_of([values], [200]).value(gains=True, shifts=False)
    assert (gain > 1.2).all()
