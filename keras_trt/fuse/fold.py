"""The arithmetic of folding: BatchNormalization is a scale and a shift per channel."""

from __future__ import annotations

import numpy as np


def batchnorm_affine(
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The scale and shift of BatchNormalization at inference: `y = x * scale + shift`.

    `scale = gamma / sqrt(variance + epsilon)`, `shift = beta - mean * scale` (Ioffe and Szegedy 2015),
    computed in float64.

    Args:
        mean: Moving mean, shape (channels,).
        variance: Moving variance, shape (channels,).
        gamma: Learned scale, shape (channels,), or None for 1.
        beta: Learned shift, shape (channels,), or None for 0.
        epsilon: Added to the variance.
    """
    scale = 1.0 / np.sqrt(variance.astype(np.float64) + epsilon)
    if gamma is not None:
        scale = scale * gamma.astype(np.float64)
    shift = -mean.astype(np.float64) * scale
    if beta is not None:
        shift = shift + beta.astype(np.float64)
    return scale, shift


def scale_channels(kernel: np.ndarray, scale: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """A kernel with its output channels multiplied.

    Args:
        kernel: Any layout.
        scale: One factor per output channel, shape (channels,).
        axes: The kernel's output-channel axes; a depthwise kernel has two, the outer one slower.

    Returns:
        float64, the kernel's shape.
    """
    shape = [1] * kernel.ndim
    for axis in axes:
        shape[axis] = kernel.shape[axis]
    return kernel.astype(np.float64) * scale.reshape(shape)
