"""`Prune`: prunes a model while `fit` trains it, in place."""

from __future__ import annotations

from typing import Any

from keras_trt._arguments import check_text, check_verbose
from keras_trt._keras import masking
from keras_trt._keras.flavor import check_model, flavor_of
from keras_trt._keras.select import check_choices
from keras_trt._keras.tfmot_model import refuse_wrapped
from keras_trt.callbacks.base import Callback
from keras_trt.errors import InputError
from keras_trt.prune.importance import ChannelPattern
from keras_trt.prune.numbers import is_number
from keras_trt.prune.pattern import NofM, parse_pattern
from keras_trt.prune.pruner import Pruner
from keras_trt.prune.saved import saved_plan
from keras_trt.prune.schedule import Schedule, parse_schedule
from keras_trt.prune.search import Search
from keras_trt.prune.strategy import parse_strategy


class Prune(Callback):
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
        >>> model.fit(x, y, epochs=10, callbacks=[keras_trt.callbacks.Prune(0.8, end_step=2000)])
        >>> prune = keras_trt.callbacks.Prune(monitor="val_accuracy", max_drop=0.01)
        >>> model.fit(x, y, epochs=20, validation_data=(x2, y2), callbacks=[prune]); prune.sparsity

        In a loop of your own, call `update` before each step:

        >>> prune = keras_trt.callbacks.Prune(0.8, end_step=2000); prune.set_model(model)
        >>> for step, batch in enumerate(dataset):
        ...     prune.update(step)
        ...     train_step(batch)  # compiled after the first `update`
    """

    def __init__(
        self,
        schedule: Any = None,
        *,
        begin_step: int | None = None,
        end_step: int | None = None,
        frequency: int | None = None,
        pattern: Any = "unstructured",
        pooling: str = "avg",
        strategy: Any = "uniform",
        only: Any = None,
        skip: Any = (),
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
        if pattern == "channel" or isinstance(pattern, ChannelPattern):
            raise InputError(
                "Removing channels changes the model's shape, which cannot be done while `fit` trains it. "
                'Call `prune_model(model, 0.4, pattern="channel")`, then compile and fit '
                f"what it returns. Received: pattern={pattern!r}"
            )
        self.pattern = parse_pattern(pattern, pooling)
        self.strategy = parse_strategy(strategy, self.pattern)
        self.only, self.skip = only, skip
        self.monitor, self.verbose = monitor, verbose
        steps = {"begin_step": begin_step, "end_step": end_step, "frequency": frequency}
        given = {name: value for name, value in steps.items() if value is not None}
        self.search: Search | None = None
        self.schedule: Any = None
        if monitor is not None:
            self.search = _search(schedule, given, self.pattern, monitor, mode, max_drop, patience)
        elif schedule is None and isinstance(self.pattern, NofM):
            self.schedule = parse_schedule(1 - self.pattern.n / self.pattern.m, **given)
        elif schedule is not None:
            self.schedule = parse_schedule(schedule, **given)
        self._follows_model = self.schedule is None and self.search is None
        if self._follows_model:
            _refuse_beside_a_saved_schedule(
                **given, pattern=self.pattern.name, strategy=strategy, only=only, skip=skip
            )
        self.step = 0
        self._next = 0  # counted here when the model has no optimiser that counts
        self._pruner: Any = None
        self._attached = False
        self._last: float | None = None
        self._accepted: list[Any] | None = None

    @property
    def sparsity(self) -> float:
        """Fraction of zeros over the pruned weights, as they are now."""
        return 0.0 if self._pruner is None else self._pruner.sparsity()

    def set_model(self, model: Any) -> None:
        """Takes the model to prune; called by `fit`."""
        if self.model is not None and model is not self.model:  # nothing learned on another model counts
            self._pruner, self._accepted, self._next = None, None, 0
            self.search = self.search and self.search.anew()
        super().set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
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
        self._attached, self._last = False, None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Finds out at which step the epoch starts."""
        trained = flavor_of(self.model).batches_trained(self.model)
        self._start = self._next if trained is None else trained

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Prunes when the schedule says so."""
        self.update(self._start + batch)

    def update(self, step: int) -> None:
        """Prunes the model to what the schedule says for a step (0 is the first).

        Called by `fit`; in a hand-written loop, call it before each training step.
        """
        if self._pruner is None:
            self.on_train_begin()
        if not self._attached:  # not earlier: other callbacks may restore weights when training begins
            if self._pruner.attach(keep_zeros=step > 0):
                flavor_of(self.model).rebuild_steps(
                    self.model
                )  # an earlier `fit` traced it without the masks
            self._attached = True
        self.step, self._next = step, step + 1
        if self.search is not None:
            return
        due, sparsity = self.schedule(step)
        if due and sparsity > 0 and sparsity != self._last:  # the mask holds by itself at a constant level
            self._prune(sparsity, f"step {step}")
            self._last = sparsity

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """With `monitor`: judges the last level and tries the next."""
        if self.search is None or self.search.done:
            return
        if self.monitor not in (logs or {}):
            raise InputError(
                f"`monitor={self.monitor!r}` is not in the logs. A `val_` metric needs `validation_data`. "
                f"Available: {', '.join(logs or {}) or 'nothing'}"
            )
        metric = float((logs or {})[self.monitor])
        verdict = self.search.tell(metric)
        if verdict == "accept":
            self._accepted = self.model.get_weights()
        elif verdict == "back":
            self._restore()
        if verdict != "wait" and not self.search.done:
            self._prune(self.search.trying, f"epoch {epoch + 1}, {self.monitor}={metric:.4g}, {verdict}")

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the best accepted weights, and no masked weight other than zero."""
        if self._pruner is None or not self._attached:
            return
        if self.search is not None and self._accepted is not None and not self.search.done:
            self._restore()  # the last level was never judged good
        masking.reapply(self.model)  # averaged weights (EMA) may just have been written over the zeros

    def _prune(self, sparsity: float, when: str) -> None:
        remembered = self.schedule if isinstance(self.schedule, Schedule) else None
        self._pruner.prune(sparsity, schedule=remembered)
        if self.verbose:
            print(f"Prune: {when}: sparsity {self._pruner.sparsity():.4f}")

    def _restore(self) -> None:
        """Back to the weights, and thereby the masks, of the last accepted level."""
        if self._accepted is not None:
            self.model.set_weights(self._accepted)
            self._pruner.attach(keep_zeros=True)


def _refuse_beside_a_saved_schedule(**given: Any) -> None:
    """Without an amount, `Prune()` follows the model's own schedule, which says all the rest.

    Raises:
        InputError: Something else was given.
    """
    usual = {"pattern": "unstructured", "strategy": "uniform", "only": None, "skip": ()}
    said = {name: value for name, value in given.items() if name not in usual or value != usual[name]}
    if said:
        raise InputError(
            "Say how much to prune: `Prune(0.8, ...)` or a schedule. `Prune()` alone follows the schedule of "
            "`prune_model(model, schedule=...)`, which takes these arguments itself. "
            f"Received: {', '.join(f'{name}={value!r}' for name, value in said.items())}"
        )


def _search(
    final: Any, steps: dict[str, int], pattern: Any, monitor: str, mode: str, max_drop: float, patience: int
) -> Search:
    if steps or not (final is None or is_number(final)) or isinstance(pattern, NofM):
        raise InputError(
            "With `monitor` the metric decides when to prune: give at most a highest sparsity, no schedule, "
            f"no steps and no n:m pattern. Received: schedule={final!r}, {steps}, pattern={pattern.name!r}"
        )
    if mode not in ("auto", "max", "min"):
        raise InputError(f'`mode` must be "auto", "max" or "min". Received: mode={mode!r}')
    falls = any(word in monitor for word in ("loss", "error", "mse", "mae", "divergence"))
    higher = mode == "max" or (mode == "auto" and not falls)
    limit = 0.95 if final is None else float(final)
    return Search(max_drop, limit, patience=patience, higher_is_better=higher)
