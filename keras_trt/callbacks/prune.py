"""`Prune`: prunes a model while `fit` trains it, in place."""

from __future__ import annotations

from typing import Any

from keras_trt._base.arguments import check_text, check_verbose
from keras_trt._base.say import say
from keras_trt._keras.calls.next_training import before_next_training
from keras_trt._keras.flavor_of import check_model, flavor_of
from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.in_place import trace_anew
from keras_trt._keras.select import check_choices
from keras_trt._keras.types import Choices, Model
from keras_trt.callbacks.base import Callback, Logs
from keras_trt.callbacks.building import OnceBuilt
from keras_trt.callbacks.course import (
    refuse_beside_a_saved_schedule,
    refuse_channels,
    search_for,
    warn_of_end,
)
from keras_trt.callbacks.metric_search import MetricSearch
from keras_trt.prune.pattern import NofM, parse_pattern
from keras_trt.prune.pruner import Pruner
from keras_trt.prune.saved import saved_plan
from keras_trt.prune.schedule import Schedule, parse_schedule
from keras_trt.prune.search.search import Search
from keras_trt.prune.strategy import parse_strategy
from keras_trt.tfmot.wrapped import refuse_wrapped


class Prune(OnceBuilt, Callback):
    """Prunes a plain (or quantised) model during `fit`, following a schedule or a metric.

    The masks are constraints on the weights, as `prune_model` makes them: nothing is wrapped, and they
    hold after training. When training is resumed (a loaded `.keras` file, a restored checkpoint), masks
    are read off the zeros of the weights and the step off the optimiser.

    Args:
        schedule: Left out for a model that remembers its own, from `prune_model(schedule=...)` or from an
            earlier training, which also says pattern, strategy and layers. Else the final sparsity as a
            number, a `keras_trt.prune.Schedule`, one of TF-MOT's schedules (`PolynomialDecay`,
            `ConstantSparsity`), or a callable `step -> sparsity`. For `"n:m"` it only says when; leave it
            out to prune at `begin_step`.
        begin_step: First step at which weights are pruned; only with a number.
        end_step: Step at which the final sparsity is reached; without it, all at `begin_step`.
        frequency: Steps between two prunings.
        pattern: As in `prune_model`.
        pooling: As in `prune_model`.
        strategy: As in `prune_model`.
        only: As in `prune_model`.
        skip: As in `prune_model`.
        monitor: Instead of a schedule in steps: after each epoch, raise sparsity (up to `schedule`, 0.95
            by default) while this entry of the logs, e.g. `"val_accuracy"`, stays within `max_drop` of
            its first value; step back when it does not. Epochs before the metric settles are best trained
            beforehand.
        max_drop: How much `monitor` may fall, in its own units.
        patience: Epochs that a level may take to recover.
        mode: `"max"` or `"min"`: which way `monitor` gets better; `"auto"` reads it off the name.
        verbose: 1 prints every pruning.

    Raises:
        InputError: An argument is out of range, or `monitor` is not in the logs.
        ModelError: The model has nothing to prune.

    Example:
        >>> model.fit(x, y, epochs=10, callbacks=[keras_trt.callbacks.Prune(0.8, end_step=150)])
        >>> prune = keras_trt.callbacks.Prune(monitor="val_accuracy", max_drop=0.01)
        >>> model.fit(x, y, epochs=20, validation_data=(x_val, y_val), callbacks=[prune]); prune.sparsity

        In a loop of your own, call `update` before each step:

        >>> prune = keras_trt.callbacks.Prune(0.8, end_step=2000); prune.set_model(model)
        >>> for step, batch in enumerate(dataset):
        ...     prune.update(step)
        ...     train_step(batch)  # compiled after the first `update`
    """

    def __init__(
        self,
        schedule: object = None,
        *,
        begin_step: int | None = None,
        end_step: int | None = None,
        frequency: int | None = None,
        pattern: object = "unstructured",
        pooling: str = "avg",
        strategy: object = "uniform",
        only: Choices | None = None,
        skip: Choices = (),
        monitor: str | None = None,
        max_drop: float = 0.01,
        patience: int = 1,
        mode: str = "auto",
        verbose: int = 0,
    ) -> None:
        super().__init__()
        check_verbose(verbose)
        if monitor is not None:
            check_text(monitor, "monitor")
        refuse_channels(pattern)
        self.pattern = parse_pattern(pattern, pooling)
        self.strategy = parse_strategy(strategy, self.pattern)
        self.only, self.skip = only, skip
        self.monitor, self.verbose = monitor, verbose
        steps = {"begin_step": begin_step, "end_step": end_step, "frequency": frequency}
        given = {name: value for name, value in steps.items() if value is not None}
        self.search: Search | None = None
        self.schedule: Any = None
        if monitor is not None:
            self.search = search_for(schedule, given, self.pattern, monitor, mode, max_drop, patience)
        elif schedule is None and isinstance(self.pattern, NofM):
            self.schedule = parse_schedule(1 - self.pattern.n / self.pattern.m, **given)
        elif schedule is not None:
            self.schedule = parse_schedule(schedule, **given)
        self._follows_model = self.schedule is None and self.search is None
        if self._follows_model:
            refuse_beside_a_saved_schedule(
                **given, pattern=self.pattern.name, strategy=strategy, only=only, skip=skip
            )
        self.step = 0
        self._next = 0  # counted here when the model has no optimiser that counts
        self._pruner: Any = None
        self._search: MetricSearch | None = None
        self._masked = self._in_fit = self._warned = False
        self._last: float | None = None
        self._epoch = self._start = 0
        self._first: int | None = None

    @property
    def sparsity(self) -> float:
        """Fraction of zeros over the pruned weights, as they are now."""
        return 0.0 if self._pruner is None else self._pruner.sparsity()

    def set_model(self, model: Model) -> None:
        """Takes the model to prune; called by `fit`."""
        if self.model is not None and model is not self.model:  # nothing learned on another model counts
            self._next = 0
            self.search = self.search and self.search.anew()
        self._pruner, self._masked, self._in_fit, self._last = None, False, False, None
        super().set_model(model)

    def on_built(self) -> None:
        """Finds the weights, so that errors come before any training."""
        flavor = check_model(self.model)
        refuse_wrapped(flavor, self.model)
        check_choices(flavor.walk(self.model), self.only, self.skip)
        only = self.only
        if self._follows_model:
            plan = saved_plan(self.model)
            self.schedule, self.pattern, self.strategy = plan.schedule, plan.pattern, plan.strategy
            only = plan.covers
        self._pruner = Pruner(self.model, self.pattern, self.strategy, only, self.skip)
        if self.search is not None and self.monitor is not None:
            self._search = MetricSearch(self.search, self.monitor)
            self._search.attach(self._pruner)

    def on_built_late(self) -> None:
        """Begins with the second batch."""
        self.on_built()
        self._begin(self._epoch, at=1)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Takes nothing over from an earlier training but what the model itself remembers."""
        self._masked, self._in_fit, self._warned, self._last = False, True, False, None
        before_next_training(self.model, "Prune", _mask_what_is_zero)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Finds out at which step the epoch starts; with `monitor`, goes to the next level."""
        self._epoch = epoch
        if self.is_attached:
            self._begin(epoch)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Prunes when the schedule says so."""
        if self._first is None:
            self._first = batch  # tf_keras goes on within an epoch that was interrupted
        self.update(self._start + batch - self._first)

    def update(self, step: int) -> None:
        """Prunes the model to what the schedule says for a step (0 is the first).

        Called by `fit`; in a hand-written loop, call it before each training step.
        """
        if self._pruner is None:
            self.on_built()
        self._attach(step)
        self.step, self._next = step, step + 1
        if self.search is not None:
            return
        due, sparsity = self.schedule(step)
        if due and sparsity > 0 and sparsity != self._last:  # the mask holds by itself at a constant level
            self._prune(sparsity, f"step {step}")
            self._last = sparsity

    def on_test_end(self, logs: Logs = None) -> None:
        """With a `val_` metric as `monitor`: judges the level."""
        if self._search is not None and self._in_fit:
            self._search.end_test(logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """With `monitor`: judges the level, and leaves it as it is until the next epoch begins."""
        super().on_epoch_end(epoch, logs)
        if self._search is not None:
            self._search.end_epoch(logs)

    def on_train_end(self, logs: Logs = None) -> None:
        """Leaves weights that were judged good, and no masked weight other than zero."""
        self._in_fit = False
        if self._pruner is None or not self._masked:
            return
        if self._search is not None:
            self._search.end_training()
        _mask_what_is_zero(self.model)

    def _begin(self, epoch: int, at: int = 0) -> None:
        """Begins an epoch, at a batch of it."""
        trained = flavor_of(self.model).batches_trained(self.model)
        self._start = self._next if trained is None else trained
        self._first = at or None
        self._warn_of_end(epoch, at)
        if self._search is None:
            return
        move = self._search.begin_epoch()
        if move is not None:
            self._attach(self._start)
            self._prune(move[0], f"epoch {epoch + 1}, {self.monitor}, {move[1]}")

    def _attach(self, step: int) -> None:
        """Puts the masks on; not earlier, for other callbacks may restore weights when training begins."""
        if self._masked:
            return
        flavor_of(self.model).bring_up_to_date(self.model)
        if self._pruner.attach(keep_zeros=step > 0):
            trace_anew(flavor_of(self.model), self.model)  # an earlier `fit` traced it without the masks
        if self._search is not None:
            self._search.mark()
        self._masked = True

    def _prune(self, sparsity: float, when: str) -> None:
        flavor_of(self.model).bring_up_to_date(self.model)
        remembered = self.schedule if isinstance(self.schedule, Schedule) else None
        self._pruner.prune(sparsity, schedule=remembered)
        say(f"Prune: {when}: sparsity {self._pruner.sparsity():.4f}", self.verbose)

    def _warn_of_end(self, epoch: int, at: int) -> None:
        """Says, once per training, when it will end before the schedule does."""
        plan, steps, epochs = self.schedule, self.params.get("steps"), self.params.get("epochs")
        if self._warned or self._follows_model or not isinstance(plan, Schedule) or not (steps and epochs):
            return
        self._warned = True
        warn_of_end(plan, last=self._start + (epochs - epoch) * steps - at - 1)


def _mask_what_is_zero(model: Model) -> bool:
    """Other callbacks may have restored weights of another level than the one that the masks are for."""
    masking.rebind(model)
    return False
