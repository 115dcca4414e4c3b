"""How far two arrays are apart, whatever their magnitude."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.runtime.distance import distance, movement


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e8, 1e30])
def test_the_difference_is_relative_at_any_scale(scale):
    x = np.float32([3.0, 4.0]) * np.float32(scale)
    relative, largest = distance(x, x * np.float32([1.0, 1.125]))
    assert relative == pytest.approx(0.1, rel=1e-5)
    assert largest == pytest.approx(0.5 * scale, rel=1e-5)


def test_something_else_than_zeros_is_far_from_them():
    assert distance(np.zeros(3), np.zeros(3)) == (0.0, 0.0)
    assert distance(np.zeros(3), np.full(3, 1e-8))[0] > 1e20


def test_only_what_is_not_finite_in_both_is_left_out():
    a = np.float32([1.0, np.nan, np.inf])
    assert distance(a, a) == (0.0, 0.0)
    assert distance(a, np.float32([np.nan, 1.0, 1.0])) == (np.inf, np.inf)


def test_an_output_that_becomes_no_number_or_has_another_shape_has_not_moved():
    x = np.float32([3.0, 4.0])
    assert movement(x, x * 1.5) == pytest.approx(0.5)
    assert movement(x, x * np.nan) == 0.0
    assert movement(x, x[:1]) == 0.0
