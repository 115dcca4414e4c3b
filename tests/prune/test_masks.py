"""Masks as pure functions: the right weights go, in the right number."""

import numpy as np
import pytest

from keras_trt.prune.masks import block_mask, is_n_of_m, magnitude_mask, n_of_m_mask, threshold_mask


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.777, 0.99])
def test_magnitude_mask_prunes_exactly_the_rounded_fraction_and_the_smallest(sparsity, rng):
    w = np.abs(rng.normal(size=(7, 11, 13)))
    mask = magnitude_mask(w, sparsity)
    assert (~mask).sum() == round(sparsity * w.size)
    assert sparsity == 0 or w[~mask].max() <= w[mask].min()


def test_magnitude_mask_leaves_one_weight_of_a_tiny_layer():
    assert magnitude_mask(np.array([1.0, 2.0]), 0.99).tolist() == [False, True]


def test_magnitude_mask_prunes_an_exact_count_among_equal_weights():
    assert (~magnitude_mask(np.ones(10), 0.3)).sum() == 3


def test_threshold_counts_in_standard_deviations_so_the_layers_scale_does_not_matter(rng):
    w = rng.normal(size=10000)
    mask = threshold_mask(w, 0.5)
    assert np.array_equal(mask, np.abs(w) >= 0.5 * w.std())
    assert np.array_equal(mask, threshold_mask(1000 * w, 0.5))


def test_threshold_zero_and_constant_weights_prune_nothing(rng):
    assert threshold_mask(rng.normal(size=9), 0.0).all()
    assert threshold_mask(np.full(9, 2.0), 0.5).all()


@pytest.mark.parametrize("shape,axis", [((8, 5), 0), ((3, 3, 16, 4), 2), ((2, 3, 3, 8), -1)])
@pytest.mark.parametrize("n,m", [(2, 4), (1, 4), (1, 2)])
def test_n_of_m_keeps_the_largest_of_each_group_along_the_axis(shape, axis, n, m, rng):
    w = rng.normal(size=shape)
    pruned = w * n_of_m_mask(w, n, m, axis)
    assert is_n_of_m(pruned, n, m, axis)
    groups = np.moveaxis(np.abs(w), axis, -1).reshape(-1, m)
    kept = np.moveaxis(np.abs(pruned), axis, -1).reshape(-1, m)
    assert np.allclose(kept.sum(1), np.sort(groups, 1)[:, -n:].sum(1))


def test_n_of_m_handles_an_incomplete_last_group():
    mask = n_of_m_mask(np.array([[1.0, 2, 3, 4, 5, 6]]), 2, 4, 1)
    assert mask.tolist() == [[False, False, True, True, True, True]]


def test_n_of_m_keeps_two_of_four_equal_weights():
    assert n_of_m_mask(np.ones((4, 3)), 2, 4, 0).sum(0).tolist() == [2, 2, 2]


def test_is_n_of_m_sees_a_group_with_three_non_zeros():
    assert not is_n_of_m(np.array([1.0, 1, 1, 0]), 2, 4, 0)


def test_n_of_m_equals_the_mask_of_tfmot(tfmot_pruning_utils, rng):
    w = rng.normal(size=(6, 20)).astype("float32")
    theirs = tfmot_pruning_utils.generate_m_by_n_mask(w, (2, 4)).numpy().astype(bool)
    assert np.array_equal(n_of_m_mask(w, 2, 4, 1), theirs)


@pytest.mark.parametrize("pooling,expected", [("avg", [[0, 1], [1, 0]]), ("max", [[1, 0], [0, 1]])])
def test_block_mask_prunes_whole_blocks_by_pooled_magnitude(pooling, expected):
    w = np.array([[9.0, 0, 5, 5], [0, 0, 5, 5], [6, 6, 8, 0], [6, 6, 0, 0]])
    mask = block_mask(w, 0.5, (2, 2), pooling)
    assert mask[::2, ::2].astype(int).tolist() == expected
    assert np.array_equal(mask, np.kron(np.array(expected), np.ones((2, 2))).astype(bool))


def test_block_mask_averages_cut_blocks_over_what_they_hold():
    w = np.array([[1.0, 1, 3], [1, 1, 3]])  # the second block has one column only
    assert block_mask(w, 0.5, (2, 2), "avg").tolist() == [[False, False, True]] * 2
