"""The arithmetic of folding: BatchNormalization is a scale and a shift per channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks import masking


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


def affine_of(batchnorm: Any) -> tuple[np.ndarray, np.ndarray]:
    """The scale and shift per channel of a BatchNormalization layer at inference."""
    gamma = batchnorm.gamma.numpy() if batchnorm.scale else None
    beta = batchnorm.beta.numpy() if batchnorm.center else None
    mean, variance = batchnorm.moving_mean.numpy(), batchnorm.moving_variance.numpy()
    return batchnorm_affine(mean, variance, gamma, beta, batchnorm.epsilon)


def fold_batchnorm(flavor: Flavor, old: Any, new: Any, batchnorm: Any) -> None:
    """Gives `new` the weights of `old` times the BatchNormalization's scale, and its shift as bias."""
    scale, shift = affine_of(batchnorm)
    biases = [id(layer.bias) for layer in (old, new) if layer.bias is not None]
    others = [[v for v in layer.weights if id(v) not in biases] for layer in (old, new)]
    for source, target in zip(*others, strict=True):
        target.assign(source.numpy())
    if old.use_bias:
        shift = shift + old.bias.numpy().astype(np.float64) * scale
    new.bias.assign(shift.astype(np.float32))
    if getattr(old, "quantization_switch", None) is not None and old.quantization.shift:
        new.quantization_switch.shift.assign(flavor.array(old.quantization_switch.shift) * scale)
    kernel = kernels_of(old)[-1]  # of a separable convolution the pointwise one comes last
    folded = scale_channels(masking.value_of(masking.variable_of(old, kernel)), scale, kernel.channel_axes)
    masking.variable_of(new, kernel).assign(folded.astype(np.float32))
