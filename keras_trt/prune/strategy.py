"""How one sparsity for the whole model is shared out among its layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_trt.errors import InputError
from keras_trt.prune.costs.table import Sensitivity
from keras_trt.prune.masks import magnitude_mask
from keras_trt.prune.pattern import NofM, Pattern

_ACCEPTED = '"uniform", "global", "lamp", or the result of keras_trt.prune.sensitivity(model, data)'


def parse_strategy(strategy: object, pattern: Pattern) -> str | Sensitivity:
    """The strategy, checked.

    Raises:
        InputError: It is none of the known ones, or the pattern leaves nothing to share out.
    """
    if isinstance(pattern, NofM) and strategy != "uniform":
        raise InputError(
            f'Pattern {pattern.name!r} fixes the sparsity of every layer; only `strategy="uniform"` goes '
            f"with it. Received: strategy={strategy!r}"
        )
    if strategy in ("uniform", "global", "lamp") or isinstance(strategy, Sensitivity):
        return strategy
    raise InputError(f"`strategy` must be {_ACCEPTED}. Received: strategy={strategy!r}")


def share_out(
    strategy: object, sparsity: float, names: Sequence[str], weights: Sequence[np.ndarray]
) -> list[float]:
    """The sparsity of each variable, so that all together reach `sparsity`.

    Args:
        strategy: `"uniform"`: the same for each. `"global"`: the smallest magnitudes of the whole model
            go, wherever they are. `"lamp"`: the smallest `lamp_scores` go. A `Sensitivity`: more where the
            measured loss is small.
        sparsity: Fraction of zeros over all the weights, in [0, 1).
        names: `path.kernel` of each variable.
        weights: Their values.
    """
    if isinstance(strategy, Sensitivity):
        return strategy.share_out(sparsity, names, [w.size for w in weights])
    if strategy == "uniform":
        return [sparsity] * len(weights)
    scores = [lamp_scores(w) if strategy == "lamp" else np.abs(w).ravel() for w in weights]
    mask = magnitude_mask(np.concatenate(scores), sparsity)
    masks = np.split(mask, np.cumsum([w.size for w in weights])[:-1])
    return [min(float(1 - one.mean()), 1 - 1 / one.size) for one in masks]


def lamp_scores(weights: np.ndarray) -> np.ndarray:
    """Each weight's square by the sum of the squares of its layer that are not smaller, in ascending order.

    Comparable between layers of any scale, which magnitudes are not where a batch normalisation follows. The
    largest weight of every layer has the score 1, so no layer is emptied.

    Source: Lee et al. 2021, "Layer-adaptive sparsity for the Magnitude-based Pruning".
    """
    squares = np.sort(np.square(weights, dtype=np.float64), axis=None)
    not_smaller = np.cumsum(squares[::-1])[::-1]
    return squares / np.maximum(not_smaller, np.finfo(np.float64).tiny)
