"""Which weights go: pure functions from an array of weights to a boolean mask (False = pruned).

Two Kerases and TensorFlow are unknown here; everything is numpy.
"""

from __future__ import annotations

import numpy as np


def magnitude_mask(scores: np.ndarray, sparsity: float) -> np.ndarray:
    """Prunes the smallest scores, exactly `round(sparsity * size)` of them, but never all.

    Args:
        scores: Non-negative importance of each weight (its magnitude), any shape.
        sparsity: Fraction in [0, 1).
    """
    count = min(round(sparsity * scores.size), scores.size - 1)
    mask = np.ones(scores.size, bool)
    if count > 0:
        mask[np.argpartition(scores, count - 1, axis=None)[:count]] = False
    return mask.reshape(scores.shape)


def threshold_mask(weights: np.ndarray, threshold: float) -> np.ndarray:
    """Prunes |w| < threshold * std(w), so that one number fits layers of any scale.

    Source: Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks".
    """
    return np.abs(weights) >= threshold * np.std(weights, dtype=np.float64)


def n_of_m_mask(weights: np.ndarray, n: int, m: int, axis: int) -> np.ndarray:
    """Keeps the `n` largest magnitudes of every `m` consecutive weights along `axis`.

    The same mask as TF-MOT's `generate_m_by_n_mask(weights, (m - n, m))`, for any rank; for 2:4, `axis`
    must be the input-channel axis, which is where sparse tensor cores look for it.

    Args:
        weights: Any shape; the last, incomplete group of an axis counts as padded with zeros.
        n: How many stay in each group.
        m: Group size.
        axis: Axis of the groups.
    """
    rows = np.moveaxis(np.abs(weights), axis, -1)
    length = rows.shape[-1]
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -length % m)])
    groups = padded.reshape(-1, m)
    mask = np.zeros(groups.shape, bool)
    largest = np.argsort(-groups, axis=1, kind="stable")[:, :n]
    np.put_along_axis(mask, largest, True, axis=1)
    return np.moveaxis(mask.reshape(padded.shape)[..., :length], -1, axis)


def is_n_of_m(weights: np.ndarray, n: int, m: int, axis: int) -> bool:
    """Whether every `m` consecutive weights along `axis` hold at most `n` non-zeros."""
    rows = np.moveaxis(weights != 0, axis, -1)
    padded = np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, -rows.shape[-1] % m)])
    return bool((padded.reshape(-1, m).sum(1) <= n).all())


def block_mask(matrix: np.ndarray, sparsity: float, block: tuple[int, int], pooling: str) -> np.ndarray:
    """Prunes whole (rows, cols) blocks of a matrix, the ones with the smallest pooled magnitude.

    Args:
        matrix: Shape (inputs, outputs).
        sparsity: Fraction of blocks to prune, in [0, 1).
        block: Rows and columns of a block; blocks at the far edges may be cut.
        pooling: `"avg"` or `"max"` of the magnitudes in a block, as TF-MOT's `block_pooling_type`.
    """
    rows, cols = block
    magnitudes = np.abs(matrix)
    starts = [np.arange(0, size, step) for size, step in zip(matrix.shape, block, strict=True)]
    reduce = np.maximum if pooling == "max" else np.add
    pooled = reduce.reduceat(reduce.reduceat(magnitudes, starts[0], axis=0), starts[1], axis=1)
    if pooling == "avg":
        heights = np.diff(np.append(starts[0], matrix.shape[0]))
        widths = np.diff(np.append(starts[1], matrix.shape[1]))
        pooled = pooled / np.outer(heights, widths)
    mask = magnitude_mask(pooled, sparsity)
    return mask.repeat(rows, axis=0).repeat(cols, axis=1)[: matrix.shape[0], : matrix.shape[1]]
