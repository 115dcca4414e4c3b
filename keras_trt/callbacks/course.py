"""What `Prune` may follow: a schedule, the one that the model remembers, or a metric."""

from __future__ import annotations

import warnings
from typing import Any

from keras_trt._base.arguments import is_number
from keras_trt.data.rises import rises
from keras_trt.errors import InputError
from keras_trt.prune.channels.importance import ChannelPattern
from keras_trt.prune.pattern import NofM
from keras_trt.prune.schedule import Schedule
from keras_trt.prune.search.search import Search


def refuse_channels(pattern: object) -> None:
    """Refuses the pattern that changes shapes.

    Raises:
        InputError: It removes channels.
    """
    if pattern == "channel" or isinstance(pattern, ChannelPattern):
        raise InputError(
            "Removing channels changes the model's shape, which cannot be done while `fit` trains it. "
            'Call `prune_model(model, 0.4, pattern="channel")`, then compile and fit '
            f"what it returns. Received: pattern={pattern!r}"
        )


def refuse_beside_a_saved_schedule(**given: object) -> None:
    """Without an amount, `Prune()` follows the model's own schedule, which says all the rest.

    Raises:
        InputError: Something else was given.
    """
    usual = {"pattern": "unstructured", "strategy": "uniform", "only": None, "skip": ()}
    changed = {name: value for name, value in given.items() if name not in usual or value != usual[name]}
    if changed:
        raise InputError(
            "Say how much to prune: `Prune(0.8, ...)` or a schedule. `Prune()` alone follows the schedule of "
            "`prune_model(model, schedule=...)`, which takes these arguments itself. "
            f"Received: {', '.join(f'{name}={value!r}' for name, value in changed.items())}"
        )


def search_for(
    final: Any, steps: dict[str, int], pattern: Any, monitor: str, mode: str, max_drop: float, patience: int
) -> Search:
    """The search that `monitor` asks for.

    Raises:
        InputError: It is given what only a schedule can follow, or an unknown `mode`.
    """
    if steps or not (final is None or is_number(final)) or isinstance(pattern, NofM):
        raise InputError(
            "With `monitor` the metric decides when to prune: give at most a highest sparsity, no schedule, "
            f"no steps and no n:m pattern. Received: schedule={final!r}, {steps}, pattern={pattern.name!r}"
        )
    if mode not in ("auto", "max", "min"):
        raise InputError(f'`mode` must be "auto", "max" or "min". Received: mode={mode!r}')
    higher = mode == "max" or (mode == "auto" and rises(monitor) is not False)
    limit = 0.95 if final is None else float(final)
    return Search(max_drop, limit, patience=patience, higher_is_better=higher)


def warn_of_end(plan: Schedule, last: int) -> None:
    """Says when a training ends with step `last` before its schedule does."""
    end = plan.begin_step if plan.end_step is None else plan.end_step
    if last < end:
        reached = plan(last)[1] if last >= plan.begin_step else 0.0
        warnings.warn(
            f"This training ends with step {last}, before the schedule's last one ({end}): about "
            f"{reached:.2f} of {plan.final:g} sparsity will be reached. Train on with this `Prune`, or "
            "lower `end_step`.",
            stacklevel=3,
        )
