"""Does something when a model is trained the next time, whoever trains it and whatever ended this training.

Keras tells callbacks neither of Ctrl-C nor of an exception. But `fit` and `train_on_batch` of both Kerases
begin with `make_train_function()`, which here stands in for the model's own until its next call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def before_next_training(model: Any, action: Callable[[Any], None]) -> None:
    """Calls `action(model)` when the model's next training begins, whose step is then traced anew.

    Call it from `on_train_begin` or later: the training that is running has made its step by then. A second
    call takes the place of the first.
    """
    vars(model).pop("make_train_function", None)
    original = type(model).make_train_function

    def make_train_function(force: bool = False) -> Any:
        if force:  # a callback of the training that is still running
            return original(model, force=True)
        vars(model).pop("make_train_function", None)
        action(model)
        return original(model, force=True)

    vars(model)["make_train_function"] = make_train_function
