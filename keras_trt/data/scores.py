"""Metrics of Keras, by name or as objects, and functions, as one: `score(targets, predictions)`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._base.arguments import wrong_argument
from keras_trt._base.kerases import is_of_keras
from keras_trt._base.nests import leaves_of
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of, keras3, legacy
from keras_trt.data.rises import rises
from keras_trt.errors import InputError


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


def score_of(metric: Any, flavor: Flavor | None = None) -> Score:
    """What a user's `metric` measures: the one reader of every argument of that name.

    Args:
        metric: `"accuracy"`, which takes its kind from the targets as `compile` does; another name that
            Keras knows; a metric, loss or function of Keras's own; a function of (targets, predictions),
            larger being better. All but the last are for models of one output.
        flavor: The Keras that is asked for a name; None for Keras 3, and only where the name needs one.

    Raises:
        InputError: None of these.
        MissingDependencyError: A name that needs Keras, which is not installed.
    """
    if isinstance(metric, str):
        return _by_name(metric, flavor)
    own = _origin(metric)
    if own is not None and isinstance(metric, own.keras.metrics.Metric):
        return Score(metric.name, _of_one(_measured(metric)), _falls(*_names(metric)))
    if own is not None and isinstance(metric, own.keras.losses.Loss):
        return Score(type(metric).__name__, _of_one(_mean(metric)), falls=True)
    if callable(metric) and not isinstance(metric, type):
        name = getattr(metric, "__name__", "metric")
        homes = () if own is None else (own.keras.metrics, own.keras.losses)
        if metric in (getattr(home, name, None) for home in homes):
            return Score(name, _of_one(_mean(metric)), _falls(name))
        return Score(name, _number(metric))
    raise wrong_argument("metric", "'accuracy', a metric of Keras, or a function", metric)


def _by_name(metric: str, flavor: Flavor | None) -> Score:
    if metric in _WITHOUT_KERAS:
        function = _WITHOUT_KERAS[metric]
        return Score(function.__name__, _of_one(function), _falls(function.__name__))
    try:
        known = (flavor or keras3()).keras.metrics.get(metric)
    except ValueError:
        known = metric
    if isinstance(known, str):  # Keras 3 gives back what it does not know
        close = difflib.get_close_matches(metric, [*_WITHOUT_KERAS, *dir((flavor or keras3()).keras.metrics)])
        raise InputError(
            "`metric` must be a name that Keras knows, or a function of (targets, predictions). There is no "
            f"such metric. Received: metric={metric!r}. Close names: {', '.join(close) or 'none'}"
        )
    if isinstance(known, (flavor or keras3()).keras.metrics.Metric):
        return Score(known.name, _of_one(_measured(known)), _falls(*_names(known)))
    return Score(getattr(known, "__name__", metric), _of_one(_mean(known)), _falls(*_names(known)))


def _origin(metric: Any) -> Flavor | None:
    """The Keras that a metric, a loss or a function is of; None for what is of neither."""
    if any(is_of_keras(cls.__module__) for cls in type(metric).__mro__):
        return flavor_of(metric)
    root = str(getattr(metric, "__module__", "")).split(".")[0]
    return {"keras": keras3, "tf_keras": legacy}[root]() if is_of_keras(root) else None


def _of_one(function: Callable[[Any, Any], float]) -> Callable[[Any, Any], float]:
    """The function for a model of one output, which may be in a list or dict."""

    def of(targets: Any, predictions: Any) -> float:
        nested = isinstance(predictions, list | tuple | Mapping)
        outputs = list(leaves_of(predictions)) if nested else [predictions]
        if len(outputs) != 1:
            raise InputError(
                "A metric by name, and one of Keras, is for models of one output. Received: "
                f"{len(outputs)} outputs. Give a function of (targets, predictions)"
            )
        if nested and isinstance(targets, list | tuple | Mapping) and len(targets) == 1:
            targets = next(leaves_of(targets))
        return function(targets, outputs[0])

    return of


def _names(metric: Any) -> list[str]:
    """What a metric or a function is called: by its user, and by Keras, of which it may be a subclass."""
    classes = [cls.__name__ for cls in type(metric).__mro__ if "keras" in cls.__module__.split(".")[0]]
    return [getattr(metric, "name", ""), getattr(metric, "__name__", ""), type(metric).__name__, *classes]


def _falls(*names: str) -> bool:
    return any(rises(name) is False for name in names)


def accuracy(targets: Any, predictions: Any) -> float:
    """The share of right classes: of targets as numbers or one-hot rows, of outputs for each class or one.

    Raises:
        InputError: Targets that are no classes, or of other rows.
    """
    y, z = np.asarray(targets), np.asarray(predictions)
    if y.dtype.kind not in "biuf":
        raise InputError(f"Accuracy compares numbers of classes. Received: targets of type {y.dtype}")
    if y.shape != z.shape and y.size * z.shape[-1] != z.size:
        raise InputError(
            "Accuracy compares classes, as numbers or one-hot rows, with outputs of the same rows. "
            f"Received: targets of shape {y.shape}, outputs of shape {z.shape}"
        )
    one_hot = y.shape == z.shape and z.ndim > 1 and z.shape[-1] > 1
    if not one_hot and not np.array_equal(y, np.rint(y)):
        raise InputError(
            "Accuracy compares numbers of classes. Received: targets that are no whole numbers, "
            f"{y.ravel()[:3].tolist()} first. Give another `metric`"
        )
    if z.shape[-1] == 1 or z.ndim == 1:
        return float(np.mean((z.reshape(-1) > 0.5) == (y.reshape(-1) > 0.5)))
    classes = y.argmax(-1) if one_hot else y.reshape(z.shape[:-1])
    return float(np.mean(z.argmax(-1) == classes))


def mean_absolute_error(targets: Any, predictions: Any) -> float:
    """The mean of |targets - predictions|."""
    return float(np.mean(np.abs(_differences(targets, predictions))))


def mean_squared_error(targets: Any, predictions: Any) -> float:
    """The mean of (targets - predictions) squared."""
    return float(np.mean(np.square(_differences(targets, predictions))))


def _differences(targets: Any, predictions: Any) -> np.ndarray:
    y, z = np.asarray(targets), np.asarray(predictions, np.float64)
    if y.dtype.kind not in "biuf" or y.size != z.size:
        raise InputError(
            "Errors are differences of numbers. Received: targets of "
            f"type {y.dtype} and shape {y.shape}, outputs of shape {z.shape}"
        )
    return y.astype(np.float64).reshape(z.shape) - z


_WITHOUT_KERAS: dict[str, Callable[[Any, Any], float]] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "mae": mean_absolute_error,
    "mean_absolute_error": mean_absolute_error,
    "mse": mean_squared_error,
    "mean_squared_error": mean_squared_error,
}
"""What is measured on machines without Keras, too."""


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
