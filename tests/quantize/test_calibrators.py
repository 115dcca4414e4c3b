from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.quantize.calibrators import MSE, Auto, Entropy, Max, Percentile, Std, calibrator
from keras_trt.quantize.seen.histogram import Histogram


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


def test_std_reaches_k_standard_deviations_from_the_mean(normal):
    assert Std(3.0).amax(seen(normal)) == pytest.approx(3.0, rel=0.01)
    assert Std(3.0).amax(seen(normal * 0.2 + 2)) == pytest.approx(2.6, rel=0.01)
    assert Std(3.0).amax(seen(normal * 0.2 - 2)) == pytest.approx(2.6, rel=0.01)


OFFSETS = {
    "a gate that is mostly open": lambda rng: np.clip(rng.normal(0.9, 0.05, 50_000), 0, 1),
    "values far from zero": lambda rng: rng.normal(5, 0.3, 50_000),
    "values far below zero": lambda rng: rng.normal(-7, 0.5, 50_000),
    "two levels": lambda rng: rng.choice([3.0, 3.5], 50_000),
    "the white of a page": lambda rng: np.where(rng.random(50_000) < 0.05, 0.1, 0.98),
    "a ReLU": lambda rng: np.maximum(rng.normal(-1, 1, 50_000), 0),
    "a square": lambda rng: rng.normal(0, 1, 50_000) ** 2,
}


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse", "std"])
@pytest.mark.parametrize("kind", OFFSETS)
def test_every_method_leaves_a_tensor_with_an_offset_or_a_tail_nearly_what_it_is(method, kind):
    for seed in range(10):
        values = OFFSETS[kind](np.random.default_rng(seed)).astype("float32")
        scale = calibrator(method).amax(seen(values)) / 127
        error = np.clip(np.round(values / scale), -128, 127) * scale - values
        assert np.linalg.norm(error) < 0.1 * np.linalg.norm(values)


def test_entropy_never_clips_more_than_its_share():
    rng = np.random.default_rng(0)
    for values in (rng.normal(2, 0.2, 20_000), rng.gamma(2, 1, 20_000), rng.standard_cauchy(20_000)):
        amax = Entropy().amax(seen(values))
        assert np.mean(np.abs(values) <= amax * (1 + 1e-6)) >= 0.989
    with pytest.raises(InputError, match="share of the values.*kept=1.5"):
        Entropy(kept=1.5)


def test_threads_lose_no_counts():
    histogram, values = Histogram(), np.linspace(0, 1, 1000, dtype="float32")

    def add(factor):
        for _ in range(50):
            histogram.add(values * factor)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(1, 17)))
    assert histogram.counts.sum() == histogram.total == 16 * 50 * 1000
    assert histogram.sum == pytest.approx(50 * 500 * sum(range(1, 17)), rel=1e-5)
    assert histogram.largest == 16.0


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse", "std"])
@pytest.mark.parametrize("magnitude", [1e-43, 1e-40, 1e-36, 1e-20, 1e20, 3e38])
def test_every_method_survives_the_ends_of_float32(method, magnitude):
    values = np.linspace(-1, 1, 1001).astype("float32") * np.float32(magnitude)
    amax = calibrator(method).amax(seen(values * np.float32(0.5), values))
    assert 0 < amax <= np.abs(values).max()
    if magnitude > 1e-30:
        assert amax > 0.4 * magnitude


@pytest.mark.parametrize("method", ["max", "percentile", "entropy", "mse", "std"])
def test_every_method_survives_zeros_and_a_single_value(method):
    assert calibrator(method).amax(seen(np.zeros(10))) == 0.0
    assert calibrator(method).amax(seen([2.0])) == pytest.approx(2.0, rel=0.01)


def test_an_unknown_method_names_the_known_ones():
    with pytest.raises(
        InputError, match=r"one of \['auto', 'entropy', 'max', 'mse', 'percentile', 'std'\].*'kl'"
    ):
        calibrator("kl")


@pytest.mark.parametrize("candidates", [(), ("max", "mse")])
def test_what_is_chosen_from_are_calibrators(candidates):
    with pytest.raises(
        InputError, match=r"`candidates` are calibrators, one at least.*Received: candidates="
    ):
        Auto(candidates)


@pytest.mark.parametrize("make", [lambda: Percentile(0), lambda: Percentile(101), lambda: Std(0)])
def test_values_out_of_range_are_refused(make):
    with pytest.raises(InputError, match="Received"):
        make()
