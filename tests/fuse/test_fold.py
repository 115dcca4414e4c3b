"""Folding as arithmetic: the folded layer computes what the two computed."""

import numpy as np

from keras_trt.fuse.fold import batchnorm_affine, scale_channels


def test_the_affine_form_equals_the_normalisation(rng):
    mean, variance, gamma, beta, x = (rng.random(4) for _ in range(5))
    scale, shift = batchnorm_affine(mean, variance, gamma, beta, 1e-3)
    assert np.allclose(x * scale + shift, gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta)


def test_missing_gamma_and_beta_are_one_and_zero(rng):
    mean, variance = rng.random(4), rng.random(4)
    both = [
        batchnorm_affine(mean, variance, g, b, 1e-3) for g, b in [(None, None), (np.ones(4), np.zeros(4))]
    ]
    assert np.allclose(both[0], both[1])


def test_a_depthwise_kernel_has_two_channel_axes():
    kernel, scale = np.ones((2, 2, 3, 2)), np.arange(6.0)
    assert scale_channels(kernel, scale, (-2, -1))[0, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_transposed_kernel_has_its_outputs_before_its_inputs():
    assert scale_channels(np.ones((1, 1, 2, 3)), np.array([2.0, 5.0]), (-2,))[0, 0].tolist() == [
        [2] * 3,
        [5] * 3,
    ]
