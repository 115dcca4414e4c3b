"""Metrics of Keras, by name or as objects, and functions, as one: `score(targets, predictions)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._arguments import wrong_argument
from keras_trt._keras.flavor import Flavor
from keras_trt.errors import InputError

_DOWN = (
    *("error", "loss", "crossentropy", "divergence", "distance", "false", "hinge", "poisson", "logcosh"),
    *("log_cosh", "mse", "mae", "mape", "msle"),
)


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


def score_of(flavor: Flavor, metric: object, targets: object) -> Score:
    """What a user's `metric` measures.

    Args:
        flavor: The Keras that has it.
        metric: `"accuracy"`, which takes its kind from the targets as `compile` does; another name that
            Keras knows; a metric, loss or function of Keras's own; a function of (targets, predictions),
            larger being better.
        targets: What it is to be measured against.

    Raises:
        InputError: None of these.
    """
    keras = flavor.keras
    if metric in ("accuracy", "acc"):
        return Score("accuracy", accuracy)
    if isinstance(metric, keras.metrics.Metric):
        return Score(metric.name, _measured(metric), _falls(*_names(metric)))
    if isinstance(metric, keras.losses.Loss):
        return Score(type(metric).__name__, _mean(metric), falls=True)
    if isinstance(metric, str):
        return _by_name(flavor, metric)
    if callable(metric):
        name = getattr(metric, "__name__", "metric")
        if metric in (getattr(each, name, None) for each in (keras.metrics, keras.losses)):
            return Score(name, _mean(metric), _falls(name))
        return Score(name, _number(metric))
    raise wrong_argument("metric", "'accuracy', a metric of Keras, or a function", metric)


def _by_name(flavor: Flavor, metric: str) -> Score:
    try:
        known = flavor.keras.metrics.get(metric)
    except ValueError:
        known = metric
    if isinstance(known, str):  # Keras 3 gives back what it does not know
        raise InputError(f"Keras knows no such metric. Received: metric={metric!r}")
    if isinstance(known, flavor.keras.metrics.Metric):
        return Score(known.name, _measured(known), _falls(*_names(known)))
    return Score(getattr(known, "__name__", metric), _mean(known), _falls(*_names(known)))


def _names(metric: object) -> list[str]:
    """What a metric or a function is called: by its user, and by Keras."""
    return [getattr(metric, "name", ""), getattr(metric, "__name__", ""), type(metric).__name__]


def _falls(*names: str) -> bool:
    return any(word in name.lower() for name in names for word in _DOWN)


def accuracy(targets: object, predictions: object) -> float:
    """The share of right classes: of targets as numbers or one-hot rows, of outputs for each class or one."""
    y, z = np.asarray(targets), np.asarray(predictions)
    if y.dtype.kind not in "biuf":
        raise InputError(f"Accuracy compares numbers of classes. Received: targets of type {y.dtype}")
    if y.shape != z.shape and y.size * z.shape[-1] != z.size:
        raise InputError(
            "Accuracy compares classes, as numbers or one-hot rows, with outputs of the same rows. "
            f"Received: targets of shape {y.shape}, outputs of shape {z.shape}"
        )
    if z.shape[-1] == 1 or z.ndim == 1:
        return float(np.mean((z.reshape(-1) > 0.5) == (y.reshape(-1) > 0.5)))
    classes = y.argmax(-1) if y.shape == z.shape else y.reshape(z.shape[:-1])
    return float(np.mean(z.argmax(-1) == classes))


def _measured(metric: Any) -> Callable[[Any, Any], float]:
    def of(targets: Any, predictions: Any) -> float:
        fresh = type(metric).from_config(metric.get_config())
        fresh.update_state(targets, np.asarray(predictions, np.float32))
        return float(np.asarray(fresh.result()))

    return of


def _mean(function: Any) -> Callable[[Any, Any], float]:
    def of(targets: Any, predictions: Any) -> float:
        return float(np.mean(np.asarray(function(targets, np.asarray(predictions, np.float32)))))

    return of


def _number(function: Any) -> Callable[[Any, Any], float]:
    def of(targets: Any, predictions: Any) -> float:
        value = np.asarray(function(targets, predictions))
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise InputError(
                f"`metric` returns one number. Received: a function that returns {value.dtype} of shape "
                f"{value.shape}"
            )
        return float(value.reshape(()))

    return of


def _divergence(floats: object, outputs: object) -> float:
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
