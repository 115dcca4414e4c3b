"""Polynomials of a tensor, its mean, its mean square and its standard deviation are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.onnx_passes.folding.moments import Polynomial

X = np.random.default_rng(0).normal(1, 2, (3, 8))
MEAN, SQUARES = X.mean(-1, keepdims=True), (X**2).mean(-1, keepdims=True)
x = Polynomial.of_tensor()
m = x.mean()


def value(polynomial):
    """What it is for the numbers in X."""
    r = 0 if polynomial.epsilon is None else 1 / np.sqrt(SQUARES - MEAN**2 + polynomial.epsilon)
    symbols = (X, MEAN, SQUARES, r)
    total = 0
    for powers, factor in polynomial.terms.items():
        term = factor
        for symbol, power in zip(symbols, powers, strict=True):
            term = term * np.power(symbol, float(power)) if power else term
        total = total + term
    return total


def constant(number):
    return Polynomial.of_constant(np.asarray(number, np.float64))


def variance():
    centred = x.plus(m, -1)
    return centred.times(centred).mean()


def test_sums_products_and_means_are_those_of_the_numbers():
    np.testing.assert_allclose(value(x.plus(m, -1)), X - MEAN)
    np.testing.assert_allclose(value(x.plus(m).times(x)), (X + MEAN) * X)
    np.testing.assert_allclose(value(x.times(x).plus(m.times(x)).mean()), SQUARES + MEAN**2)
    np.testing.assert_allclose(value(variance()) + 0 * X, X.var(-1, keepdims=True) + 0 * X)


def test_terms_that_cancel_are_gone():
    assert value(x.plus(x, -1)) == 0
    assert set(x.plus(m).plus(x, -1).terms) == set(m.terms)


@pytest.mark.parametrize("epsilon", [0.0, 1e-3])
def test_the_root_of_a_variance_is_one_over_r(epsilon):
    root = variance().plus(constant(epsilon)).root()
    assert root.epsilon == epsilon
    np.testing.assert_allclose(value(root), np.sqrt(X.var(-1, keepdims=True) + epsilon))
    np.testing.assert_allclose(value(root.inverse().times(root)), 1)


@pytest.mark.parametrize(
    "radicand",
    [
        x,
        constant(4.0),
        variance().times(constant(2.0)),
        variance().plus(constant(-1.0)),
        variance().plus(constant(np.ones(8))),
        x.times(x).mean().times(constant(2.0)),
    ],
)
def test_nothing_else_has_a_root(radicand):
    assert radicand.root() is None


def test_the_mean_of_what_is_weighted_by_channel_is_no_polynomial():
    assert x.times(constant(np.arange(8.0))).mean() is None
    assert x.times(x).times(x).mean() is None


def test_only_constants_and_powers_of_r_have_an_inverse():
    assert x.inverse() is None
    assert constant([1.0, 0.0]).inverse() is None
    np.testing.assert_allclose(value(constant([2.0, 4.0]).inverse()), [0.5, 0.25])


def test_two_standard_deviations_do_not_mix():
    one, other = (variance().plus(constant(e)).root().inverse() for e in (1e-3, 1e-5))
    assert one.times(other) is None
    assert one.plus(other) is None
    assert one.plus(one) is not None


def test_a_normalisation_is_told_with_its_factors():
    gamma, beta = np.arange(1.0, 9.0), np.linspace(-1, 1, 8)
    r = variance().plus(constant(1e-3)).root().inverse()
    normalised = x.plus(m, -1).times(r.times(constant(gamma))).plus(constant(beta))
    found = normalised.normalization()
    np.testing.assert_array_equal(found[0], gamma)
    np.testing.assert_array_equal(found[1], beta)
    assert x.plus(m, -1).normalization() is None
    assert x.times(r).normalization() is None
    assert normalised.plus(m).normalization() is None


def test_the_mean_of_squares_has_a_root_too_and_the_two_do_not_mix():
    about_zero = x.times(x).mean().plus(constant(1e-3)).root()
    about_mean = variance().plus(constant(1e-3)).root()
    assert (about_zero.about_mean, about_mean.about_mean) == (False, True)
    gamma, beta = x.times(about_zero.inverse()).normalization()
    assert (gamma, beta) == (1, 0)
    assert x.times(about_mean.inverse()).normalization() is None  # no mean is taken off
    assert x.plus(x.mean(), -1).times(about_zero.inverse()).normalization() is None
    assert about_zero.times(about_mean) is None
