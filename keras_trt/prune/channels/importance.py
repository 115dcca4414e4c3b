"""How much each channel of a model matters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._base.arguments import is_whole
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Layer
from keras_trt.errors import InputError, ModelError
from keras_trt.prune.channels.dependencies import Channels


@dataclass(frozen=True)
class ChannelPattern:
    """How channels to remove are chosen: what `pattern="channel"` stands for.

    Args:
        by: `"norm"`: the L2 norm of the weights that make a channel, over its layer's mean (Li et al. 2017).
            `"batchnorm"`: the magnitude of BatchNormalization's gamma over its layer's mean (Liu et al.
            2017); the norm where there is none. Or a callable `(path, layer) -> scores`, one per channel.
        multiple_of: The channels left are rounded up to a multiple of this; 8 suits int8 tensor cores.
        name: What reports call it.

    Raises:
        InputError: Anything else.

    Example:
        >>> pattern = keras_trt.prune.ChannelPattern(by="batchnorm", multiple_of=8)
        >>> smaller = keras_trt.prune_model(model, 0.5, pattern=pattern)
    """

    by: str | Callable[[str, Any], Any] = "norm"
    multiple_of: int = 1
    name: str = "channel"

    def __post_init__(self) -> None:
        if self.by not in ("norm", "batchnorm") and not callable(self.by):
            raise InputError(f'`by` must be "norm", "batchnorm" or a callable. Received: by={self.by!r}')
        if not (is_whole(self.multiple_of) and self.multiple_of >= 1):
            raise InputError(
                f"`multiple_of` must be a whole number >= 1. Received: multiple_of={self.multiple_of!r}"
            )


def importance(channels: Channels, layers: dict[str, Any], by: object) -> dict[int, float]:
    """The importance of each root of tied channels: the mean over all layers that score them.

    Args:
        channels: The channels of the model.
        layers: Its layers by path.
        by: As in `ChannelPattern`.

    Raises:
        InputError: A callable gave the wrong number of scores.
        ModelError: Weights hold NaN or infinity.
    """
    collected: dict[int, list[float]] = defaultdict(list)
    if by == "batchnorm":
        for path in channels.makes:
            layer = layers.get(path)  # none for an operation between layers
            if layer is not None and getattr(layer, "moving_variance", None) is not None and layer.scale:
                scores = _relative(np.abs(layer.gamma.numpy()), path)
                for root, score in _by_root(channels, path, scores):
                    collected[root].append(score)
    scored = set(collected)
    for path in channels.makers:
        if not scored.issuperset(channels.roots(channels.makes[path]).tolist()):
            scores = _scores(path, layers[path], by, len(channels.makes[path]))
            for root, score in _by_root(channels, path, scores):
                collected[root].append(score)
    return {root: float(np.mean(values)) for root, values in collected.items()}


def _by_root(channels: Channels, path: str, scores: np.ndarray) -> Iterator[tuple[int, float]]:
    """The scores of a layer's channels, each with the root of the channels it is tied to."""
    return zip(channels.roots(channels.makes[path]).tolist(), scores.tolist(), strict=True)


def _scores(path: str, layer: Layer, by: object, count: int) -> np.ndarray:
    if callable(by):
        scores = np.asarray(by(path, layer), np.float64)
        if scores.shape != (count,):
            raise InputError(
                "`by` must give one score per output channel. "
                f"Received: shape {scores.shape} for layer {path!r} with {count} channels"
            )
        return scores
    kernel = kernels_of(layer)[-1]  # of a separable convolution the pointwise one comes last
    weights = masking.value_of(masking.variable_of(layer, kernel)).astype(np.float64)
    rows = np.moveaxis(weights, kernel.channel_axes[-1], 0).reshape(count, -1)
    return _relative(np.linalg.norm(rows, axis=1), path)


def _relative(scores: np.ndarray, path: str) -> np.ndarray:
    """Scores over their mean, so that layers compare; the common scale of a layer says nothing."""
    if not np.isfinite(scores).all():
        raise ModelError(
            f"The weights of layer {path!r} hold NaN or infinity; nothing can be chosen by them."
        )
    return scores / max(float(scores.mean()), 1e-12)
