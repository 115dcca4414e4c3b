"""What can be measured on the command line: two metrics by name, any other as `module:function`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_trt.cli.result import UsageError
from keras_trt.cli.values import imported
from keras_trt.errors import InputError

HELP = "accuracy, mae, or module:function of your own, called as function(targets, predictions)"


def metric_named(text: str | None) -> Callable[[Any, Any], float] | None:
    """A metric; None where none is named.

    Raises:
        UsageError: Neither a known name nor `module:function`.
        InputError: There is no such module or function.
    """
    if text is None:
        return None
    if text not in _METRICS and ":" not in text:
        raise UsageError(f"--metric: {', '.join(_METRICS)} or module:function is needed. Received: {text!r}.")
    return _METRICS.get(text) or imported(text)


def accuracy(targets: object, predictions: object) -> float:
    """The share of right classes: the largest along the last axis, or one number beside 0.5."""
    from keras_trt.data import scores

    return scores.accuracy(targets, _one(predictions))


def mae(targets: Any, predictions: Any) -> float:
    """The mean absolute error."""
    import numpy as np

    predictions = _one(predictions)
    return float(np.abs(np.asarray(targets).reshape(predictions.shape) - predictions).mean())


_METRICS = {"accuracy": accuracy, "mae": mae}


def _one(predictions: object) -> Any:
    import numpy as np

    if isinstance(predictions, dict | list | tuple):
        raise InputError("This metric is for models with one output: pass module:function of your own.")
    return np.asarray(predictions)
