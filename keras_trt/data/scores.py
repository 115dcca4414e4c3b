"""Metrics of Keras, by name or as objects, and functions, as one: `score(targets, predictions)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._arguments import wrong_argument
from keras_trt._keras.flavor import Flavor
from keras_trt.errors import InputError

_DOWN = ("error", "loss", "crossentropy", "divergence", "distance", "false", "mse", "mae", "mape", "msle")


@dataclass(frozen=True)
class Score:
    """How good predictions are.

    Attributes:
        name: What it is called.
        of: The number, from (targets, predictions).
        falls: Whether a smaller number is better.
    """

    name: str
    of: Callable[[Any, Any], float]
    falls: bool = False

    def drop(self, before: float, after: float) -> float:
        """By how much a number is worse than another; negative where it is better."""
        return after - before if self.falls else before - after


def score_of(flavor: Flavor, metric: Any, targets: Any) -> Score:
    """What a user's `metric` measures.

    Args:
        flavor: The Keras that has it.
        metric: `"accuracy"`, which takes its kind from the targets as `compile` does; another name that
            Keras knows; a Keras metric; a function of (targets, predictions), larger being better.
        targets: What it is to be measured against.

    Raises:
        InputError: None of these.
    """
    keras = flavor.keras
    if metric in ("accuracy", "acc"):
        return Score("accuracy", _accuracy)
    if isinstance(metric, keras.metrics.Metric):
        return Score(metric.name, _measured(metric), _falls(metric.name))
    if isinstance(metric, str):
        try:
            known = keras.metrics.get(metric)
        except ValueError:
            known = metric
        if isinstance(known, str):  # Keras 3 gives back what it does not know
            raise InputError(f"Keras knows no such metric. Received: metric={metric!r}")
        name = getattr(known, "name", getattr(known, "__name__", metric))
        of = _measured(known) if isinstance(known, keras.metrics.Metric) else _mean(known)
        return Score(name, of, _falls(name))
    if callable(metric):
        return Score(getattr(metric, "__name__", "metric"), lambda y, z: float(metric(y, z)))
    raise wrong_argument("metric", "'accuracy', a metric of Keras, or a function", metric)


def _falls(name: str) -> bool:
    return any(word in name.lower() for word in _DOWN)


def _accuracy(targets: Any, predictions: Any) -> float:
    """Classes as numbers, as one-hot rows, or one probability each."""
    y, z = np.asarray(targets), np.asarray(predictions)
    if z.shape[-1] == 1 or z.ndim == 1:
        return float(np.mean((z.reshape(-1) > 0.5) == (y.reshape(-1) > 0.5)))
    classes = y.argmax(-1) if y.shape == z.shape else y.reshape(z.shape[:-1])
    return float(np.mean(z.argmax(-1) == classes))


def _measured(metric: Any) -> Callable[[Any, Any], float]:
    def of(targets: Any, predictions: Any) -> float:
        fresh = type(metric).from_config(metric.get_config())
        fresh.update_state(targets, predictions)
        return float(np.asarray(fresh.result()))

    return of


def _mean(function: Any) -> Callable[[Any, Any], float]:
    return lambda targets, predictions: float(np.mean(np.asarray(function(targets, predictions))))


def _divergence(floats: Any, outputs: Any) -> float:
    """The mean Kullback-Leibler divergence of the last axis, in nats; logits become probabilities first."""
    p, q = (_probabilities(np.asarray(each, np.float64)) for each in (floats, outputs))
    return float(np.mean(np.sum(p * np.log(p / q), axis=-1)))


def _probabilities(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or not np.allclose(values.sum(-1), 1, atol=1e-3):
        values = np.exp(values - values.max(-1, keepdims=True))
    values = np.maximum(values, 1e-12)
    return values / values.sum(-1, keepdims=True)


def _change(floats: Any, outputs: Any) -> float:
    return float(np.mean(np.square(outputs - floats)) / max(float(np.var(floats)), 1e-12))


KL = Score("the KL divergence from float", _divergence, falls=True)
CHANGE = Score("the mean squared change of the outputs over their variance", _change, falls=True)
