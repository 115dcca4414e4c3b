"""A callback for `fit` of both Kerases; neither is imported to define one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model

Logs = dict[str, Any] | None
"""The averages so far of loss and metrics, by name: numbers, or tensors that hold them."""


class _KerasToo:
    """Marks the classes that `_also` makes."""


@functools.cache
def _also(ours: Any, base: Any) -> type:
    """A callback class that is one of Keras's as well; all that `ours` defines comes first."""
    body = {"__module__": ours.__module__, "__doc__": ours.__doc__}
    return type(ours.__name__, (ours, _KerasToo, base), body)


def _unused(hook: Callable[..., None]) -> Callable[..., None]:
    """Marks a hook that does nothing, so that Keras 3 need not wait for it after every batch."""
    hook._is_default = True  # type: ignore[attr-defined]
    return hook


class Callback:
    """What Keras 3 and tf_keras expect of a callback, all hooks empty.

    Attributes:
        model: The model in training, set by `fit` (or by `set_model` in a loop of your own).
        params: `epochs`, `steps`, `verbose` of the running `fit`.
    """

    _supports_tf_logs = True  # tf_keras then leaves the logs on the device
    _chief_worker_only = None
    model: Any = None  # here too, for Keras 3 has a property of that name

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        """Called by `fit`."""
        self.params = params

    def set_model(self, model: Model) -> None:
        """Called by `fit`; from now on the callback is one of this model's Keras, too."""
        self.model = model
        base = flavor_of(model).keras.callbacks.Callback
        ours: Any = next(cls for cls in type(self).__mro__ if not issubclass(cls, _KerasToo))
        if not isinstance(self, base):
            self.__class__ = _also(ours, base)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Called when `fit` starts."""

    def on_train_end(self, logs: Logs = None) -> None:
        """Called when `fit` ends."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Called before each epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Called after each epoch and its validation."""

    @_unused
    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """The old name of `on_train_batch_begin`."""

    @_unused
    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        """The old name of `on_train_batch_end`."""

    @_unused
    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Called before each training step."""

    @_unused
    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Called after each training step."""

    def on_test_begin(self, logs: Logs = None) -> None:
        """Called when an evaluation starts."""

    def on_test_end(self, logs: Logs = None) -> None:
        """Called when an evaluation ends."""

    @_unused
    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Called before each evaluation step."""

    @_unused
    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Called after each evaluation step."""

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Called when a prediction starts."""

    def on_predict_end(self, logs: Logs = None) -> None:
        """Called when a prediction ends."""

    @_unused
    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Called before each prediction step."""

    @_unused
    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Called after each prediction step."""

    def _implements_train_batch_hooks(self) -> bool:
        return self._overrides("on_train_batch_begin", "on_train_batch_end")

    def _implements_test_batch_hooks(self) -> bool:
        return self._overrides("on_test_batch_begin", "on_test_batch_end")

    def _implements_predict_batch_hooks(self) -> bool:
        return self._overrides("on_predict_batch_begin", "on_predict_batch_end")

    def _overrides(self, *hooks: str) -> bool:
        return any(getattr(type(self), hook) is not getattr(Callback, hook) for hook in hooks)
