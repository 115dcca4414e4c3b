"""A loss that a model adds to its own while it trains, whatever training step calls it.

Both Kerases let a model add losses in its `call` (`add_loss`); `fit` and every step that sums `model.losses`
takes them. Evaluation and prediction are left alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor


def add_training_loss(flavor: Flavor, model: Model, loss: Callable[[Any, Any, Any], Tensor]) -> None:
    """Adds `loss(args, options, outputs)` to each call of a model for training; trace its steps anew.

    Args:
        flavor: The model's Keras.
        model: A model without such a loss.
        loss: A function of what the model is called with, by position and by name, and of what it returns.
    """
    call: Any = model.call
    add = flavor.keras.layers.Layer.add_loss  # Keras 3's functional models have none of their own

    @functools.wraps(call)
    def adding(*args: object, **options: object) -> Any:
        outputs = call(*args, **options)
        if flavor.is_training():
            add(model, loss(args, options, outputs))
        return outputs

    adding.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]
    adding.adds_loss = True  # type: ignore[attr-defined]
    vars(model)["call"] = adding


def has_training_loss(model: Model) -> bool:
    """Whether a model adds such a loss."""
    return hasattr(vars(model).get("call"), "adds_loss")


def remove_training_loss(model: Model) -> bool:
    """Takes it away again; whether there was one."""
    if not has_training_loss(model):
        return False
    own = vars(model).pop("call").__wrapped__
    if getattr(own, "__func__", None) is not type(model).call:  # a user has set one on the model itself
        vars(model)["call"] = own
    return True
