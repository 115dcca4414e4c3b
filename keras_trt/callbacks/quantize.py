"""`callbacks.Quantize`: quantisation-aware training of a plain model, in place, from within `fit`."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from keras_trt._arguments import check_mapping
from keras_trt._keras.flavor import check_model
from keras_trt._keras.tfmot_model import refuse_wrapped
from keras_trt.callbacks.base import Callback
from keras_trt.errors import InputError
from keras_trt.quantize.frozen import freeze_batchnorm, unfreeze_batchnorm
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.quantize.quantize_model import convert, set_ranges
from keras_trt.quantize.schemes import schemes_by_choice


class Quantize(Callback):
    """Turns the model in training into its quantised self, in place.

    Works on Functional, Sequential and subclassed models of either Keras, whose optimizer and its state
    stay. Ranges come from the first batches after the start and then follow a moving average. In a
    training loop of your own, call `Quantize().set_model(model)` once before it, on a built model. In `fit`,
    a model that its first batch builds is quantised from its second batch on.

    Args:
        start_epoch: The epoch (from 0) before which the model trains in float.
        freeze_ranges_epoch: The epoch from which activation ranges stand still; never, when None.
        freeze_batchnorm_epoch: The epoch from which batch normalisation uses its moving statistics also
            in training, as the engine will; never, when None.
        only: Layers to quantise (see `quantize_model`).
        skip: Layers to leave float.
        ranges: {layer: amax} set by hand.
        scheme: As in `quantize_model`; schemes with learned ranges need `quantize_model`.

    Example:
        >>> model.fit(x, y, epochs=5, callbacks=[keras_trt.callbacks.Quantize(freeze_ranges_epoch=3)])
        >>> keras_trt.export(model, "model.bundle")
    """

    def __init__(
        self,
        start_epoch: int = 0,
        freeze_ranges_epoch: int | None = None,
        freeze_batchnorm_epoch: int | None = None,
        *,
        only: Any = None,
        skip: Any = (),
        ranges: dict[str, float] | None = None,
        scheme: Any = "int8",
    ) -> None:
        super().__init__()
        for name, epoch in (
            ("start_epoch", start_epoch),
            ("freeze_ranges_epoch", freeze_ranges_epoch),
            ("freeze_batchnorm_epoch", freeze_batchnorm_epoch),
        ):
            if epoch is None and name != "start_epoch":
                continue
            if isinstance(epoch, bool) or not (isinstance(epoch, Integral) and epoch >= 0):
                raise InputError(f"`{name}` counts epochs from 0. Received: {name}={epoch}")
        if any(choice.learned_ranges for _, choice in schemes_by_choice(scheme)):
            raise InputError(
                "Learned ranges are new trainable weights, which an optimizer in training does not take. "
                "Use `keras_trt.quantize_model(model, scheme)` before `compile` instead."
            )
        self.start_epoch = start_epoch
        self.freeze_ranges_epoch = freeze_ranges_epoch
        self.freeze_batchnorm_epoch = freeze_batchnorm_epoch
        self.only, self.skip, self.ranges, self.scheme = (
            only,
            skip,
            check_mapping(ranges, "ranges"),
            scheme,
        )
        self._epoch = 0
        self._converted = self._batchnorm_stands = False

    def set_model(self, model: Any) -> None:
        """Quantises at once when training starts quantised; Keras has not built its step yet."""
        super().set_model(model)
        self._epoch = 0
        self._converted = self._batchnorm_stands = False  # one callback may train several models in turn
        if not model.built:  # `fit` builds it with its first batch
            self.on_train_batch_begin = self._once_built  # type: ignore[method-assign]
        elif self.start_epoch == 0:
            self._convert()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Quantises and freezes when the epoch for it has come."""
        self._epoch = epoch
        if self.model.built:
            self._keep_to_plan()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Quantises a model that the epoch's only batch has built."""
        if not self._converted:
            self._keep_to_plan()

    def on_train_end(self, logs: Any = None) -> None:
        """Gives batch normalisation its own behaviour back."""
        if self.freeze_batchnorm_epoch is not None:
            flavor = check_model(self.model)
            unfreeze_batchnorm(flavor, self.model)
            flavor.rebuild_steps(self.model)
            self._batchnorm_stands = False

    def _implements_train_batch_hooks(self) -> bool:
        return "on_train_batch_begin" in vars(self)

    def _once_built(self, batch: int, logs: Any = None) -> None:
        """Does before the second batch what could not be done before the first."""
        if self.model.built:
            del self.on_train_batch_begin  # the class's own does nothing
            self._keep_to_plan()

    def _keep_to_plan(self) -> None:
        """Does all that the epochs up to this one ask for and that is not done yet."""
        flavor = check_model(self.model)
        if self._epoch >= self.start_epoch and not self._converted:
            self._convert()
        if self.freeze_ranges_epoch is not None and self._epoch >= self.freeze_ranges_epoch:
            for _, quantizer in activation_quantizers(flavor, self.model):
                quantizer.observe.assign(0.0)
        wanted = self.freeze_batchnorm_epoch is not None and self._epoch >= self.freeze_batchnorm_epoch
        if wanted and not self._batchnorm_stands:
            freeze_batchnorm(flavor, self.model)
            flavor.rebuild_steps(self.model)
            self._batchnorm_stands = True

    def _convert(self) -> None:
        flavor = check_model(self.model)
        refuse_wrapped(flavor, self.model)
        with flavor.strategy_scope(self.model):
            convert(flavor, self.model, self.scheme, self.only, self.skip)
            set_ranges(flavor, self.model, self.ranges or {})
        flavor.rebuild_steps(self.model)
        self._converted = True
