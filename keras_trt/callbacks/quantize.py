"""`callbacks.Quantize`: quantisation-aware training of a plain model, in place, from within `fit`."""

from __future__ import annotations

import warnings
from numbers import Integral

from keras_trt._base.arguments import check_mapping, check_verbose
from keras_trt._base.say import say
from keras_trt._keras.calls.next_training import before_next_training
from keras_trt._keras.calls.training_loss import remove_training_loss
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model, flavor_of
from keras_trt._keras.rebuilding.in_place import in_place, trace_anew
from keras_trt._keras.rebuilding.optimizer import take_in_new_weights
from keras_trt._keras.types import Choices, Model
from keras_trt.callbacks.base import Callback, Logs
from keras_trt.callbacks.building import OnceBuilt
from keras_trt.data.batches import check_data
from keras_trt.distillation import SelfDistillation
from keras_trt.errors import InputError
from keras_trt.placement.schemes import schemes_by_choice
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.calibrators import calibrator
from keras_trt.quantize.convert import convert, set_ranges
from keras_trt.quantize.decide import check_placement, say_changed
from keras_trt.quantize.fit import set_from_data
from keras_trt.quantize.frozen import freeze_batchnorm, unfreeze_batchnorm
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.tfmot.wrapped import refuse_wrapped
from keras_trt.twins.twins import is_silent, is_twin, set_silent


class Quantize(OnceBuilt, Callback):
    """Turns the model in training into its quantised self, in place.

    Works on Functional, Sequential and subclassed models of either Keras, whose optimizer and its state
    stay. The quantisers are part of the model from the beginning of `fit`, with a switch that is one of its
    weights: they are silent before `start_epoch`, and what stores and restores weights (EarlyStopping,
    ModelCheckpoint, BackupAndRestore) keeps all of it. Weights restored from a float epoch are float again,
    and `report` says so. Ranges come from `calibration_data` or the first batches after the start, and then
    follow a moving average; those of layers with `trainable=False` stand still once they are known.

    In a training loop of your own, call `Quantize().set_model(model)` once before it, on a built model. In
    `fit`, a model that its first batch builds is quantised from its second batch on.

    Args:
        start_epoch: The epoch (from 0, as `fit` counts them) before which the model trains in float.
        freeze_ranges_epoch: The epoch from which activation ranges stand still; never, when None.
        freeze_batchnorm_epoch: The epoch from which batch normalisation uses its moving statistics also
            in training, as the engine will, until `fit` ends; never, when None.
        only: Layers to quantise (see `quantize_model`).
        skip: Layers to leave float.
        placement: Whether products stay float whose shapes are slower in int8 (see `quantize_model`).
        ranges: {layer: amax} set by hand.
        scheme: As in `quantize_model`. Learned ranges (`schemes.Int8(learned_ranges=True)`; LSQ, Esser et al.
            2020) are new trainable weights, which the model's optimizer takes in beside what it knows; on one
            device, and on backends other than TensorFlow with `calibration_data`.
        calibration_data: Data to set the ranges from before the first quantised step (see `calibrate`).
        method: How ranges are found from it.
        distill: Whether the model also learns from its own float self, as it is when quantisation starts:
            every call for training adds a loss (`model.losses`), how far the outputs are from the float
            ones. Labels are not needed then (`compile` without `loss`). A number is that loss's weight, True
            is 1. The float self takes the weights once more in memory.
        temperature: What logits are divided by before outputs of a softmax or sigmoid are compared as
            probabilities (Hinton et al. 2015, arXiv:1503.02531); other outputs are compared by squares.
        verbose: 1 prints when quantisation starts, and what is frozen.

    Raises:
        InputError: An argument is out of range or does not fit the model.
        ModelError: Nothing of the model can be quantised, or `fit` never calls it as a whole.

    Warns:
        UserWarning: `fit` ends before `start_epoch`, so that the model stays float, or the model's own
            `train_step` leaves out `model.losses`, so that `distill` is of no effect.

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
        only: Choices | None = None,
        skip: Choices = (),
        placement: str = DEFAULT,
        ranges: dict[str, float] | None = None,
        scheme: object = "int8",
        calibration_data: object = None,
        method: object = "max",
        distill: bool | float = False,
        temperature: float = 1.0,
        verbose: int = 0,
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
        self._learns = any(choice.learned_ranges for _, choice in schemes_by_choice(scheme))
        if calibration_data is not None:
            check_data(calibration_data, name="calibration_data")
        calibrator(method)
        check_verbose(verbose)
        self._distillation = SelfDistillation(distill, temperature)
        self.start_epoch = start_epoch
        self.freeze_ranges_epoch = freeze_ranges_epoch
        self.freeze_batchnorm_epoch = freeze_batchnorm_epoch
        self.only, self.skip, self.scheme = only, skip, scheme
        self.placement = check_placement(placement)
        self.ranges = check_mapping(ranges, "ranges")
        self.calibration_data, self.method, self.verbose = calibration_data, method, verbose
        self._epoch = 0
        self._batchnorm_stands = False

    def on_built(self) -> None:
        """Puts the quantisers into the model, silent before the start; Keras has not built its step yet."""
        self._epoch, self._batchnorm_stands = 0, False  # one callback may train several models in turn
        self._attach()
        if self.start_epoch == 0:
            self._switch_on()

    def on_built_late(self) -> None:
        """Does after the first batch what could not be done before it."""
        epoch = self._epoch
        self.on_built()
        self._epoch = epoch
        self._keep_to_plan()

    def on_train_begin(self, logs: Logs = None) -> None:
        """Says when this training ends before quantisation starts."""
        epochs = self.params.get("epochs")
        if epochs is not None and epochs <= self.start_epoch and self._is_float():
            warnings.warn(
                f"This training ends with epoch {epochs - 1} (counted from 0), before "
                f"`start_epoch={self.start_epoch}`: the model stays float. Train for more epochs, or lower "
                "`start_epoch`.",
                stacklevel=2,
            )
        before_next_training(self.model, "Quantize", self._tidy)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Quantises and freezes when the epoch for it has come."""
        self._epoch = epoch
        if self.is_attached:
            self._keep_to_plan()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Says when the teacher is not heard; one that comes with this epoch's only batch, later."""
        if self._distillation.is_missed(self.model):
            warnings.warn(
                f"The training step of model {self.model.name!r} ({type(self.model).__name__}) takes no "
                "gradient of `model.losses`, so that `distill` is of no effect. Add `sum(self.losses)` to "
                "the loss in its `train_step`, or call `self.compute_loss` there.",
                stacklevel=2,
            )
        super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: Logs = None) -> None:
        """Gives batch normalisation its own behaviour back."""
        if _ended(self.model):
            trace_anew(flavor_of(self.model), self.model)
        self._batchnorm_stands = False
        epochs = self.params.get("epochs")
        if epochs is not None and self._epoch < self.start_epoch < epochs and self._is_float():
            warnings.warn(
                f"This training was stopped in epoch {self._epoch} (counted from 0), before "
                f"`start_epoch={self.start_epoch}`: the model stays float. Lower `start_epoch`, or train on.",
                stacklevel=2,
            )

    def _is_float(self) -> bool:
        """Whether the model still computes in float; an earlier training may have switched it on."""
        layers = [layer for _, layer in flavor_of(self.model).walk(self.model)]
        return not self.is_attached or any(map(is_silent, layers))

    def _attach(self) -> None:
        flavor = check_model(self.model)
        refuse_wrapped(flavor, self.model)
        if self._learns:
            self._check_learning(flavor)
        with in_place(flavor, self.model):
            before = {id(layer) for _, layer in flavor.walk(self.model) if is_twin(layer)}
            decisions = convert(
                flavor, self.model, self.scheme, self.only, self.skip, placement=self.placement
            )
            say_changed(decisions, self.verbose, "Quantize: ")
            set_ranges(flavor, self.model, self.ranges)
            for layer in (self.model, *(layer for _, layer in flavor.walk(self.model))):
                if is_twin(layer) and layer.quantization.own and id(layer) not in before:
                    set_silent(layer, True)
            take_in_new_weights(flavor, self.model)

    def _check_learning(self, flavor: Flavor) -> None:
        """Refuses what learned ranges cannot be trained under."""
        strategy = getattr(self.model, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        if replicas > 1:
            raise InputError(
                f"Learned ranges are trained on one device. Received: {type(strategy).__name__} of "
                f"{replicas} replicas. Leave `learned_ranges` out: ranges that follow the batches agree "
                "across replicas."
            )
        if flavor.has_graphs:
            return
        backend = flavor.keras.backend.backend()
        if self.freeze_ranges_epoch is not None or self.calibration_data is None:
            raise InputError(
                f"On the {backend} backend learned ranges begin with `calibration_data` and are trained to "
                "the end. Received: "
                f"calibration_data={'None' if self.calibration_data is None else 'given'}, "
                f"freeze_ranges_epoch={self.freeze_ranges_epoch}. Give the first, and leave the second out."
            )

    def _keep_to_plan(self) -> None:
        """Does all that the epochs up to this one ask for and that is not done yet."""
        flavor = check_model(self.model)
        if self._epoch >= self.start_epoch:
            self._switch_on()
        if self.freeze_ranges_epoch is not None and self._epoch >= self.freeze_ranges_epoch:
            for _, quantizer in activation_quantizers(flavor, self.model):
                quantizer.hold()
        wanted = self.freeze_batchnorm_epoch is not None and self._epoch >= self.freeze_batchnorm_epoch
        if wanted and not self._batchnorm_stands:
            freeze_batchnorm(flavor, self.model)
            trace_anew(flavor, self.model)
            self._batchnorm_stands = True
            self._say("batch normalisation stands still")

    def _switch_on(self) -> None:
        """Turns the switches that are off, as the model's weights say now; from now on there is a teacher."""
        flavor = check_model(self.model)
        if self._distillation.begin(flavor, self.model):
            trace_anew(flavor, self.model)
        silent = [layer for _, layer in flavor.walk(self.model) if is_silent(layer)]
        if not silent:
            return
        with in_place(flavor, self.model):
            for layer in silent:
                set_silent(layer, False)
        self._say(f"{len(silent)} layers train quantised")
        if self.calibration_data is not None and any(activation_quantizers(flavor, self.model)):
            set_from_data(
                flavor,
                self.model,
                self.calibration_data,
                method=self.method,
                ranges=self.ranges,
                verbose=self.verbose,
            )

    def _tidy(self, model: Model) -> bool:
        """What must be done after an exception, or after weights of another epoch were restored."""
        return _ended(model) or self.start_epoch > 0

    def _say(self, what: str) -> None:
        say(f"Quantize: epoch {self._epoch + 1}: {what}", self.verbose)


def _ended(model: Model) -> bool:
    """Takes from a model what is only for its training; whether there was something."""
    unfrozen = unfreeze_batchnorm(flavor_of(model), model)
    return remove_training_loss(model) or unfrozen
