"""When to prune during training, and how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras_trt._base.arguments import is_number, is_whole
from keras_trt.errors import InputError
from keras_trt.prune.numbers import is_fraction


@dataclass(frozen=True)
class Schedule:
    """Sparsity that grows from `initial` to `final` as a polynomial of the training step.

    `s(t) = final + (initial - final) * (1 - (t - begin) / (end - begin)) ** power`, from Zhu and Gupta 2017,
    "To prune, or not to prune".

    Args:
        final: Sparsity at the end, in [0, 1).
        begin_step: First step at which weights are pruned.
        end_step: Step at which `final` is reached; None prunes to `final` at once, at `begin_step`.
        frequency: Steps between two prunings.
        initial: Sparsity at `begin_step`.
        power: 1 grows linearly; 3 prunes most while much is left.

    Raises:
        InputError: A sparsity outside [0, 1), or steps that make no sense.

    Example:
        >>> schedule = keras_trt.prune.Schedule(0.8, begin_step=100, end_step=2000)
        >>> prune = keras_trt.callbacks.Prune(schedule)
    """

    final: float
    begin_step: int = 0
    end_step: int | None = None
    frequency: int = 100
    initial: float = 0.0
    power: float = 3.0

    def __post_init__(self) -> None:
        for name in ("final", "initial"):
            value = getattr(self, name)
            if not is_fraction(value):
                raise InputError(f"`{name}` is a sparsity in [0, 1). Received: {name}={value!r}")
        steps = (self.begin_step, self.frequency, self.begin_step if self.end_step is None else self.end_step)
        if not all(is_whole(step) for step in steps) or self.begin_step < 0 or self.frequency < 1:
            raise InputError(
                "Steps are whole numbers, `begin_step` >= 0 and `frequency` >= 1. Received: "
                f"begin_step={self.begin_step!r}, end_step={self.end_step!r}, frequency={self.frequency!r}"
            )
        if self.end_step is not None and self.end_step <= self.begin_step:
            raise InputError(
                "`end_step` must come after `begin_step`. "
                f"Received: begin_step={self.begin_step}, end_step={self.end_step}"
            )
        if not (is_number(self.power) and self.power > 0):
            raise InputError(f"`power` must be a number > 0. Received: power={self.power!r}")
        for name, value in vars(self).items():  # plain numbers, which a file can hold
            kind = float if name in ("final", "initial", "power") else int
            object.__setattr__(self, name, None if value is None else kind(value))

    def __call__(self, step: int) -> tuple[bool, float]:
        """Whether to prune at `step` (counted from 0), and to which sparsity."""
        if self.end_step is None:
            return step >= self.begin_step, self.final
        due = step >= self.end_step or (step - self.begin_step) % self.frequency == 0
        done = min(max(step - self.begin_step, 0) / (self.end_step - self.begin_step), 1.0)
        return step >= self.begin_step and due, self.final + (self.initial - self.final) * (
            1 - done
        ) ** self.power


def as_numbers(schedule: Any) -> Schedule:
    """A `Schedule` or one of TF-MOT's two schedules as a `Schedule`.

    Raises:
        InputError: It is something else, whose numbers are not known.
    """
    if isinstance(schedule, Schedule):
        return schedule
    kind = type(schedule).__name__
    if kind == "ConstantSparsity":
        return Schedule(schedule.target_sparsity, schedule.begin_step, frequency=schedule.frequency)
    if kind == "PolynomialDecay":
        return Schedule(
            schedule.final_sparsity,
            schedule.begin_step,
            schedule.end_step,
            schedule.frequency,
            schedule.initial_sparsity,
            schedule.power,
        )
    raise InputError(
        "A schedule that is saved with the model must be a keras_trt.prune.Schedule, or PolynomialDecay or "
        f"ConstantSparsity of TF-MOT; give others to `callbacks.Prune`. Received: schedule={schedule!r}"
    )


def parse_schedule(schedule: Any, **options: Any) -> Callable[[int], tuple[bool, float]]:
    """A function from a step to (prune now?, sparsity), from anything a user may give.

    Args:
        schedule: The final sparsity as a number; a `Schedule`; a schedule of TF-MOT
            (`PolynomialDecay`, `ConstantSparsity`, or a subclass of `PruningSchedule`); or a callable
            `step -> sparsity`.
        **options: Fields of `Schedule`, when `schedule` is a number.

    Raises:
        InputError: It is none of these, or options were given beside a whole schedule.
    """
    if is_number(schedule):
        return Schedule(float(schedule), **options)
    if options:
        given = ", ".join(f"`{name}`" for name in options)
        raise InputError(
            f"{given} go with a number as schedule; a schedule object says them itself. "
            f"Received: schedule={schedule!r}"
        )
    if isinstance(schedule, Schedule):
        return schedule
    if callable(schedule):
        return lambda step: _as_pair(schedule, step)
    raise InputError(
        "`schedule` must be a sparsity, a keras_trt.prune.Schedule, a TF-MOT pruning schedule or a callable. "
        f"Received: schedule={schedule!r}"
    )


def _as_pair(schedule: Callable[[int], object], step: int) -> tuple[bool, float]:
    """What a foreign schedule says: TF-MOT returns two tensors, a plain function one number."""
    answer = schedule(step)
    due, sparsity = answer if isinstance(answer, (tuple, list)) else (True, answer)
    sparsity = float(sparsity)
    if not 0 <= sparsity < 1:
        raise InputError(f"The schedule gave a sparsity outside [0, 1). Received: {sparsity} at step {step}")
    return bool(due), sparsity
