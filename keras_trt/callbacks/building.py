"""Callbacks for models that may get their weights only with the first batch of `fit`."""

from __future__ import annotations

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model
from keras_trt.callbacks.base import Callback, Logs
from keras_trt.errors import ModelError


class OnceBuilt(Callback):
    """Calls `on_built` when the model is set or, where its first batch builds it, `on_built_late`."""

    is_attached = False

    def on_built(self) -> None:
        """Called by `set_model` for a model that has its weights."""
        raise NotImplementedError

    def on_built_late(self) -> None:
        """Called before the second batch, or at the end of an epoch of one batch."""
        self.on_built()

    def set_model(self, model: Model) -> None:
        """Called by `fit`."""
        super().set_model(model)
        self.is_attached = bool(model.built)
        if self.is_attached:
            self.on_built()
            return
        _refuse_without_call(model, type(self).__name__)
        self.on_train_batch_begin = self._look  # type: ignore[method-assign]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Attaches to a model that the epoch's only batch has built."""
        self._look()

    def _implements_train_batch_hooks(self) -> bool:
        return "on_train_batch_begin" in vars(self) or super()._implements_train_batch_hooks()

    def _look(self, batch: int = 0, logs: Logs = None) -> None:
        if self.is_attached or not self.model.built:
            return
        vars(self).pop("on_train_batch_begin", None)  # the class's own comes back
        self.is_attached = True
        self.on_built_late()


def _refuse_without_call(model: Model, callback: str) -> None:
    """A model that only calls its parts (a GAN) is never built as a whole, whatever `fit` does.

    Raises:
        ModelError: Its class has no `call`.
    """
    flavor = flavor_of(model)
    if type(model).call is not flavor.keras.Model.call or isinstance(model, flavor.keras.Sequential):
        return
    nested = [layer.name for layer in flavor.children(model) if flavor.is_model(layer)]
    raise ModelError(
        f"Model {model.name!r} ({type(model).__name__}) has no `call`, so `fit` trains its parts and never "
        f"builds the whole: `callbacks.{callback}` finds nothing in it. Change the part that you will export "
        "before `fit`: `keras_trt.quantize_model(part, copy=False)`, `keras_trt.prune_model(part, 0.5, "
        f"copy=False)`. Parts: {', '.join(nested) or 'none'}"
    )
