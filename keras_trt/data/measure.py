"""How much worse a model has become: by a metric, or by how far its output has moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.data.changes import CHANGE, KL
from keras_trt.data.scores import Score, score_of
from keras_trt.data.source import is_inputs
from keras_trt.errors import InputError


def inputs_and_targets(data: object, score: Score, inputs: int = 1) -> tuple[Any, Any]:
    """(inputs, targets) of `data`, which is the inputs or both; targets may be None without a metric.

    Args:
        data: What the user gave.
        score: What is measured.
        inputs: How many inputs the model takes.

    Raises:
        InputError: A metric without targets.
    """
    x, y = data if isinstance(data, tuple) and not is_inputs(data, inputs) else (data, None)
    check_targets(None if score in (CHANGE, KL) else score, y)
    return x, y


def check_targets(metric: object, targets: object) -> None:
    """Refuses a metric without targets."""
    if metric is not None and targets is None:
        raise InputError(
            "`metric` compares with targets: give `data=(inputs, targets)`. Received: no targets"
        )


def score_or_change(metric: object, flavor: Flavor) -> Score:
    """What a metric measures; `"kl"` and None compare with what the model gives now, without targets."""
    if metric is None:
        return CHANGE
    return KL if isinstance(metric, str) and metric == "kl" else score_of(metric, flavor)


def loss_against(model: Model, x: Tensor, y: object, score: Score, batch_size: int) -> Callable[..., float]:
    """A function that measures how much worse the model is than it is now.

    Args:
        model: A model with `predict`.
        x: Inputs.
        y: Targets, when there is a metric.
        score: What is measured, of the first output.
        batch_size: For `predict`.

    Returns:
        A function without arguments; given another model, it measures that one instead.
    """

    def predict(other: Any = None) -> Any:
        out = (model if other is None else other).predict(x, batch_size=batch_size, verbose=0)
        while isinstance(out, (list, tuple, dict)):
            out = next(iter(out.values())) if isinstance(out, dict) else out[0]
        return out

    if score in (CHANGE, KL):
        reference = np.asarray(predict(), np.float64)
        return lambda other=None: score.of(reference, np.asarray(predict(other), np.float64))
    best = score.of(y, predict())
    return lambda other=None: score.drop(best, score.of(y, predict(other)))
