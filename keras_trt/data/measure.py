"""How much worse a model has become: by a metric, or by how far its output has moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_trt._keras.types import Model, Tensor
from keras_trt.errors import InputError

Metric = Callable[[Any, Any], float]


def inputs_and_targets(data: object, metric: Metric | None) -> tuple[Any, Any]:
    """(inputs, targets) of `data`, which is the inputs or both; targets may be None without a metric.

    Raises:
        InputError: A metric without targets.
    """
    x, y = data if isinstance(data, tuple) else (data, None)
    check_targets(metric, y)
    return x, y


def check_targets(metric: Metric | None, targets: object) -> None:
    """Refuses a metric without targets."""
    if metric is not None and targets is None:
        raise InputError(
            "`metric` compares with targets: give `data=(inputs, targets)`. Received: no targets"
        )


def loss_against(
    model: Model, x: Tensor, y: object, metric: Metric | None, batch_size: int
) -> Callable[..., float]:
    """A function that measures how much worse the model is than it is now.

    Args:
        model: A model with `predict`.
        x: Inputs.
        y: Targets, when there is a metric.
        metric: `metric(targets, predictions) -> float`, higher is better; the loss is its fall. Without
            it, the loss is the mean squared change of the first output over its variance.
        batch_size: For `predict`.

    Returns:
        A function without arguments; given another model, it measures that one instead.
    """

    def predict(other: Any = None) -> Any:
        out = (model if other is None else other).predict(x, batch_size=batch_size, verbose=0)
        while isinstance(out, (list, tuple, dict)):
            out = next(iter(out.values())) if isinstance(out, dict) else out[0]
        return out

    if metric is not None:
        best = float(metric(y, predict()))
        return lambda other=None: best - float(metric(y, predict(other)))
    reference = np.asarray(predict(), np.float64)
    scale = max(float(reference.var()), 1e-12)
    return lambda other=None: (
        float(np.mean((np.asarray(predict(other), np.float64) - reference) ** 2)) / scale
    )
