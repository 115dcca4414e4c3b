"""Sharing one sparsity out among layers."""

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.prune.costs.table import Sensitivity
from keras_trt.prune.pattern import parse_pattern
from keras_trt.prune.strategy import lamp_scores, parse_strategy, share_out

BIG, SMALL = np.random.default_rng(0).normal(size=900), np.random.default_rng(1).normal(size=100) * 10


def total(shares, sizes=(900, 100)):
    return sum(share * size for share, size in zip(shares, sizes, strict=True)) / sum(sizes)


def test_uniform_gives_each_the_same():
    assert share_out("uniform", 0.7, ["a", "b"], [BIG, SMALL]) == [0.7, 0.7]


def test_global_takes_the_smallest_magnitudes_of_the_model():
    shares = share_out("global", 0.7, ["a", "b"], [BIG, SMALL])
    assert total(shares) == pytest.approx(0.7)
    assert shares[0] > 0.74 > 0.3 > shares[1]


def test_global_never_empties_a_layer():
    shares = share_out("global", 0.95, ["a", "b"], [BIG * 1e-3, SMALL])
    assert shares[0] == 1 - 1 / 900


def test_lamp_scores_are_those_of_the_paper():
    scores = lamp_scores(np.array([[3.0, -1.0], [2.0, 0.0]]))
    np.testing.assert_allclose(scores, [0, 1 / 14, 4 / 13, 1])
    np.testing.assert_array_equal(lamp_scores(np.zeros(3)), np.zeros(3))


def test_lamp_does_not_depend_on_the_scale_of_a_layer():
    shares = share_out("lamp", 0.7, ["a", "b"], [BIG, SMALL])
    assert total(shares) == pytest.approx(0.7)
    assert share_out("lamp", 0.7, ["a", "b"], [BIG * 1e-4, SMALL]) == pytest.approx(shares)
    assert share_out("global", 0.7, ["a", "b"], [BIG * 1e-4, SMALL]) != pytest.approx(shares)


def test_lamp_leaves_every_layer_a_weight():
    shares = share_out("lamp", 0.99, ["a", "b"], [BIG, SMALL])
    assert total(shares) == pytest.approx(0.99)
    assert max(shares[0], 1 - 1 / 900) == 1 - 1 / 900
    assert shares[1] <= 1 - 1 / 100


def test_sensitivity_spends_the_budget_where_it_costs_least():
    table = Sensitivity((0.5, 0.9), {"a": (0.0, 0.001), "b": (1.0, 5.0)}, "unstructured")
    shares = share_out(table, 0.7, ["a", "b"], [BIG, SMALL])
    assert total(shares) == pytest.approx(0.7)
    assert shares[1] == 0
    assert share_out(table, 0.95, ["a", "b"], [BIG, SMALL])[1] == pytest.approx(0.9)


def test_sensitivity_reaches_a_budget_between_levels_exactly():
    table = Sensitivity((0.5,), {"a": (0.1,), "b": (0.1,)}, "unstructured")
    for sparsity in (0.0, 0.1, 0.33, 0.5, 0.77):
        assert total(table.share_out(sparsity, ["a", "b"], [900, 100])) == pytest.approx(sparsity)


def test_sensitivity_of_another_model_is_refused():
    with pytest.raises(InputError, match="measured without b"):
        share_out(Sensitivity((0.5,), {"a": (0.1,)}, "unstructured"), 0.5, ["a", "b"], [BIG, SMALL])


def test_an_unknown_strategy_is_refused():
    with pytest.raises(InputError, match="strategy='random'"):
        parse_strategy("random", parse_pattern("unstructured"))
