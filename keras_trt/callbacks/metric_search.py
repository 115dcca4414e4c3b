"""`Prune(monitor=...)`: a metric decides how far a model is pruned, and the model remembers how far."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from keras_trt._keras.masks import masking
from keras_trt._keras.rebuilding.in_place import renew_derived
from keras_trt.callbacks.base import Logs
from keras_trt.errors import InputError
from keras_trt.prune.pruner import Pruner
from keras_trt.prune.search.search import Search
from keras_trt.prune.search.state import search_state


class MetricSearch:
    """Judges a level at the end of an epoch and moves on when the next one begins.

    In between, whatever stores the model stores what was measured. The verdict is a part of the stored
    state; that on a `val_` metric is there before any callback's `on_epoch_end`.

    Args:
        search: How the levels are chosen.
        monitor: The entry of the logs that decides.
    """

    def __init__(self, search: Search, monitor: str) -> None:
        self.search, self.monitor = search, monitor
        self.verdict: str | None = None  # on the level in the weights; None while it trains
        self._told, self._tested, self._warned = True, False, False
        self._missing: str | None = None  # what to say if no epoch brings the metric
        self._pruner: Any = None
        self._state: Any = None

    def attach(self, pruner: Pruner) -> None:
        """Puts the state into the model, for other callbacks to restore."""
        self._pruner = pruner
        self._state = search_state(pruner.flavor, pruner.weights[0].layer)

    def begin_epoch(self) -> tuple[float, str | None] | None:
        """Restores what has to be restored.

        Returns:
            The level to prune to now and why; None when there is none.
        """
        self._resume()
        verdict, self.verdict, self._told, self._tested = self.verdict, None, False, False
        if verdict == "back":
            self._restore()
        moves = verdict in ("accept", "back") and not self.search.done
        self._store()
        return (self.search.trying, verdict) if moves else None

    def mark(self) -> None:
        """Lets the masks say that a metric decides, so that a file's reader looks for the state."""
        for weight in self._pruner.weights:
            masking.constraint_of(self._pruner.flavor, weight.variable).info["monitor"] = self.monitor

    def end_test(self, logs: Logs) -> None:
        """Judges by a `val_` metric, which the evaluation knows without that prefix."""
        self._tested = True
        name = self.monitor.removeprefix("val_")
        if name != self.monitor and logs and name in logs:
            self._tell(logs[name])

    def end_epoch(self, logs: Logs) -> None:
        """Judges by what the logs say, if the evaluation did not.

        Raises:
            InputError: They do not say it, and not for want of an evaluation in this epoch.
        """
        if self._told or self.search.done:
            return
        if logs and self.monitor in logs:
            self._tell(logs[self.monitor])
            return
        self._missing = (
            f"`monitor={self.monitor!r}` is not in the logs. A `val_` metric needs `validation_data`. "
            f"Available: {', '.join(logs or {}) or 'nothing'}"
        )
        if self._tested or not self.monitor.startswith("val_"):
            raise InputError(self._missing)
        if self.search.baseline is None and not self._warned:
            self._warned = True
            warnings.warn(f"{self._missing}. Nothing is pruned before it is.", stacklevel=2)

    def end_training(self) -> None:
        """Leaves weights that were judged good, unless another callback has restored others.

        Raises:
            InputError: No evaluation has ever judged anything.
        """
        if self._missing and self.search.baseline is None:
            raise InputError(self._missing)
        if self._state is None or self._state.accepted is None:
            return
        unjudged = self.verdict is None and self.search.trying > self.search.accepted
        if (unjudged or self.verdict in ("back", "wait")) and self._pruner.is_at_masks():
            self._restore()
            self.verdict = "accept"  # of these; the next training goes on with the next level
            self._store()

    def _tell(self, metric: object) -> None:
        if self._told or self.search.done:
            return
        self._told = True
        self.verdict = self.search.tell(float(np.asarray(metric)))
        if self.verdict == "accept":
            self._state.remember(None, self._pruner.model.get_weights())
        self._store()

    def _store(self) -> None:
        state = {"monitor": self.monitor, "verdict": self.verdict, **self.search.state()}
        self._state.remember(state, self._state.accepted)

    def _resume(self) -> None:
        """Takes over what the model remembers of the same search, from this training or another."""
        state = self._state.search
        if state is not None and state["monitor"] == self.monitor and self.search.resume(state):
            self.verdict = state["verdict"]
        else:
            self._state.remember(None, None)

    def _restore(self) -> None:
        """Back to the weights, and thereby the masks, of the last accepted level."""
        if self._state.accepted is None:
            return
        model = self._pruner.model
        model.set_weights(self._state.accepted)
        renew_derived(self._pruner.flavor, model)
        self._pruner.attach(keep_zeros=True)
