"""Does something when a model is trained the next time, whoever trains it and whatever ended this training.

Keras tells callbacks neither of Ctrl-C nor of an exception. But `fit` and `train_on_batch` of both Kerases
begin with `make_train_function()`, which here stands in for the model's own until its next call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_trt._keras.types import Model


def before_next_training(model: Model, name: str, action: Callable[[Any], bool]) -> None:
    """Calls `action(model)` when the model's next training begins.

    Call it from `on_train_begin` or later: the training that is running has made its step by then.

    Args:
        model: A compiled model.
        name: An action of the same name is replaced.
        action: Says whether the training step must be traced anew.
    """
    waiting = getattr(vars(model).get("make_train_function"), "_waiting", None)
    if waiting is None:
        waiting = {}
        vars(model)["make_train_function"] = _acting(model, waiting)
    waiting[name] = action


def _acting(model: Any, waiting: dict[str, Callable[[Any], bool]]) -> Any:
    original = type(model).make_train_function

    def make_train_function(force: bool = False) -> Any:
        if force:  # a callback of the training that is still running
            return original(model, force=True)
        vars(model).pop("make_train_function", None)
        retrace = [action(model) for action in waiting.values()]
        return original(model, force=any(retrace))

    make_train_function._waiting = waiting  # type: ignore[attr-defined]
    return make_train_function
