"""How far outputs have moved from those of the float model, as scores without labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.data.scores import Score


def _divergence(floats: Any, outputs: Any) -> float:
    """The mean Kullback-Leibler divergence of the last axis, in nats; logits become probabilities first.

    One number is the probability, or the logit, of one of two classes.
    """
    p, q = np.asarray(floats, np.float64), np.asarray(outputs, np.float64)
    if p.shape[-1] == 1:
        is_logit = p.min() < 0 or p.max() > 1
        p, q = (np.concatenate([0 * x, x] if is_logit else [1 - x, x], axis=-1) for x in (p, q))
    else:
        is_logit = p.min() < 0 or not np.allclose(p.sum(-1), 1, atol=1e-2)
    p, q = (_probabilities(each, is_logit) for each in (p, q))
    return float(np.mean(np.sum(p * np.log(p / q), axis=-1)))


def _probabilities(values: np.ndarray, is_logit: bool) -> np.ndarray:
    if is_logit:
        values = np.exp(values - values.max(-1, keepdims=True))
    values = np.maximum(values, 1e-12)
    return values / values.sum(-1, keepdims=True)


def _change(floats: Any, outputs: Any) -> float:
    return float(np.mean(np.square(outputs - floats)) / max(float(np.var(floats)), 1e-12))


KL = Score("the KL divergence from float", _divergence, falls=True)
CHANGE = Score("the mean squared change of the outputs over their variance", _change, falls=True)
