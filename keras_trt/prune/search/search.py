"""How far a model can be pruned while a metric stays good enough: the search, without the model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from keras_trt._base.arguments import is_number, is_whole
from keras_trt.errors import InputError
from keras_trt.prune.numbers import is_fraction

_SETTINGS = ("max_drop", "final", "smallest_step", "patience", "higher_is_better")
_PROGRESS = ("baseline", "step", "accepted", "trying", "done", "_failures")


@dataclass
class Search:
    """Raises sparsity while a metric holds, steps back when it falls, and closes in on the limit.

    Args:
        max_drop: How much worse than `baseline` the metric may be, in its own units.
        final: Never go beyond this sparsity.
        step: First increase; halved after each step back.
        smallest_step: The search is over when the increase falls below it.
        patience: Epochs that a level may take to recover before it counts as failed.
        higher_is_better: Whether the metric is an accuracy rather than a loss.
        baseline: The metric to compare with; None takes the first one told.
    """

    max_drop: float
    final: float = 0.95
    step: float = 0.2
    smallest_step: float = 0.02
    patience: int = 1
    higher_is_better: bool = True
    baseline: float | None = None

    accepted: float = field(default=0.0, init=False)
    trying: float = field(default=0.0, init=False)
    done: bool = field(default=False, init=False)
    _failures: int = field(default=0, init=False)
    _start: tuple[float, float | None] = field(init=False)

    def __post_init__(self) -> None:
        if not (is_number(self.max_drop) and self.max_drop >= 0):
            raise InputError(f"`max_drop` must be a number >= 0. Received: max_drop={self.max_drop!r}")
        if not (is_fraction(self.final) and self.final > 0):
            raise InputError(f"The highest sparsity must lie between 0 and 1. Received: {self.final!r}")
        if not (is_whole(self.patience) and self.patience >= 1):
            raise InputError(
                f"`patience` is a whole number of epochs >= 1. Received: patience={self.patience!r}"
            )
        self._start = self.step, self.baseline

    def anew(self) -> Search:
        """The same search, told nothing yet."""
        step, baseline = self._start
        return replace(self, step=step, baseline=baseline)

    def state(self) -> dict[str, Any]:
        """Where the search is, and what it is, in numbers that a file can hold."""
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return {**settings, **{name: getattr(self, name) for name in _PROGRESS}}

    def resume(self, state: dict[str, object]) -> bool:
        """Goes on from a state, if it is one of the same search; says whether it is."""
        if any(state.get(name) != getattr(self, name) for name in _SETTINGS):
            return False
        for name in _PROGRESS:
            setattr(self, name, state[name])
        return True

    def tell(self, metric: float) -> str:
        """Takes the metric reached at `trying` and moves on.

        Returns:
            `"accept"` (keep the weights, prune to the new `trying`), `"wait"` (train on as it is), or
            `"back"` (restore the weights of `accepted`, then prune to the new `trying` unless `done`).
        """
        if self.baseline is None:
            self.baseline = metric
        drop = self.baseline - metric if self.higher_is_better else metric - self.baseline
        if drop <= self.max_drop:
            self.accepted, self._failures = self.trying, 0
            self._aim()
            return "accept"
        self._failures += 1
        if self._failures < self.patience:
            return "wait"
        self._failures = 0
        self.step /= 2
        self._aim()
        return "back"

    def _aim(self) -> None:
        self.trying = min(self.accepted + self.step, self.final)
        self.done = self.step < self.smallest_step or self.accepted >= self.final
        if self.done:
            self.trying = self.accepted
