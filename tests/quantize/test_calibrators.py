from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.quantize.calibrators import MSE, Entropy, Histogram, Max, Percentile, Std, calibrator


def seen(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(np.asarray(batch, np.float32))
    return histogram


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).normal(size=200_000).astype("float32")


def test_max_keeps_the_largest_magnitude_of_all_batches():
    assert Max().amax(seen([1, -3], [2, 0.5])) == 3.0


def test_the_histogram_counts_every_value_once_while_its_range_doubles(normal):
    histogram = seen(normal * 0.01, normal, normal * 100)
    assert histogram.counts.sum() == histogram.total == 600_000
    assert histogram.counts.size == 2048
    assert histogram.top >= histogram.largest


def test_percentile_ignores_outliers(normal):
    with_outlier = seen(normal, [1e4])
    assert Percentile(99.0).amax(seen(normal)) == pytest.approx(np.percentile(np.abs(normal), 99), rel=0.01)
    assert Percentile(99.9).amax(with_outlier) < 20.0 < Max().amax(with_outlier)


def test_mse_finds_a_range_with_less_error_than_max(normal):
    def error(amax):
        scale = amax / 127
        return np.mean((np.clip(np.round(normal / scale), -128, 127) * scale - normal) ** 2)

    best = MSE().amax(seen(normal))
    assert error(best) < error(np.abs(normal).max())
    tried = [error(a) for a in np.linspace(0.5, np.abs(normal).max(), 60)]
    assert error(best) <= min(tried) * 1.05


def test_entropy_clips_a_heavy_tail_but_keeps_a_uniform_whole(normal):
    heavy = np.random.default_rng(1).standard_t(df=3, size=200_000)
    assert np.percentile(np.abs(heavy), 95) < Entropy().amax(seen(heavy)) < 0.7 * np.abs(heavy).max()
    uniform = np.linspace(-1, 1, 100_000)
    assert Entropy().amax(seen(uniform)) == pytest.approx(1.0, rel=0.02)


def test_entropy_keeps_the_range_of_a_relu_whatever_the_share_of_its_zeros(normal):
    positive = np.abs(normal)
    zeros = np.zeros(20 * normal.size, np.float32)
    amax = Entropy().amax(seen(positive, zeros))
    assert amax == Entropy().amax(seen(positive)) > np.percentile(positive, 99)


def test_std_is_k_standard_deviations_about_the_mean(normal):
    assert Std(3.0).amax(seen(normal)) == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse", "std"])
def test_every_method_survives_zeros_and_a_single_value(method):
    assert calibrator(method).amax(seen(np.zeros(10))) == 0.0
    assert calibrator(method).amax(seen([2.0])) == pytest.approx(2.0, rel=0.01)


def test_an_unknown_method_names_the_known_ones():
    with pytest.raises(InputError, match=r"one of \['entropy', 'max', 'mse', 'percentile', 'std'\].*'kl'"):
        calibrator("kl")


@pytest.mark.parametrize("make", [lambda: Percentile(0), lambda: Percentile(101), lambda: Std(0)])
def test_values_out_of_range_are_refused(make):
    with pytest.raises(InputError, match="Received"):
        make()
