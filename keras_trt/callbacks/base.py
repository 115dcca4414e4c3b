"""A callback for `fit` of both Kerases; neither is imported to define one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from keras_trt._base.kerases import KERASES
from keras_trt._keras.types import Model

Logs = dict[str, Any] | None
"""The averages so far of loss and metrics, by name: numbers, or tensors that hold them."""


class _Bases:
    """Python lets only classes that have a base of their own be given another one."""


def _unused(hook: Callable[..., None]) -> Callable[..., None]:
    """Marks a hook that does nothing, so that Keras 3 need not wait for it after every batch."""
    hook._is_default = True  # type: ignore[attr-defined]
    return hook


class Callback(_Bases):
    """What Keras 3 and tf_keras expect of a callback, all hooks empty.

    A subclass of the `keras.callbacks.Callback` of each Keras that is imported, or will be (`join`). All that
    this class defines comes first.

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

    def set_params(self, params: dict[str, object]) -> None:
        """Called by `fit`."""
        self.params = params

    def set_model(self, model: Model) -> None:
        """Called by `fit`."""
        self.model = model

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


def join(keras: Any) -> None:
    """Makes all our callbacks, those that are there too, callbacks of a Keras as well.

    Args:
        keras: The module; of no effect while it is half imported.
    """
    base = getattr(getattr(keras, "callbacks", None), "Callback", None)
    if isinstance(base, type) and not issubclass(Callback, base):
        Callback.__bases__ += (base,)


for _name in KERASES:
    join(sys.modules.get(_name))  # a Keras that is imported later joins by `_registering`
