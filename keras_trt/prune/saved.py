"""The schedule that a model's masks remember, also from a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.masks import masking
from keras_trt._keras.types import Layer, Model
from keras_trt.errors import InputError
from keras_trt.prune.pattern import Pattern, parse_pattern
from keras_trt.prune.schedule import Schedule


@dataclass(frozen=True)
class Plan:
    """How a model is to be pruned, as `prune_model(schedule=...)` or `callbacks.Prune` left it.

    Attributes:
        schedule: How much, and when.
        pattern: The shape of the zeros.
        strategy: How sparsity is shared out.
        weights: `path.kernel` of the variables that it is for.
        masks: Their constraints, by id.
    """

    schedule: Schedule
    pattern: Pattern
    strategy: str
    weights: tuple[str, ...]
    masks: frozenset[int]

    def covers(self, layer: Layer) -> bool:
        """Whether one of a layer's variables follows the plan."""
        variables = (masking.variable_of(layer, kernel) for kernel in kernels_of(layer))
        return any(id(variable.constraint) in self.masks for variable in variables if variable is not None)


def saved_plan(model: Model) -> Plan:
    """The one plan that a model's masks remember.

    Raises:
        InputError: They remember none, or several.
    """
    flavor = flavor_of(model)
    constraints: list[tuple[str, Any]] = []
    for path, _, kernel, variable in masking.weights_in(flavor, model):
        constraint = masking.constraint_of(flavor, variable)
        if constraint is not None and constraint.info.get("schedule"):
            constraints.append((f"{path}.{kernel.name}", constraint))
    if not constraints:
        raise InputError(
            "Say how much to prune: `Prune(0.8)`, a schedule, `Prune(monitor='val_accuracy')`, or give "
            "the model a schedule with `prune_model(model, schedule=...)`. Received: schedule=None"
        )
    (first, constraint), *others = constraints
    info = constraint.info
    for name, other in others:
        if any(other.info[key] != info[key] for key in ("schedule", "pattern", "strategy")):
            raise InputError(
                f"The model remembers several schedules, e.g. for {first!r} and {name!r}; `Prune()` follows "
                "one. Give one to `Prune` and choose its layers with `only`. Received: schedule=None"
            )
    return Plan(
        Schedule(**info["schedule"]),
        parse_pattern(info["pattern"]),
        info["strategy"],
        tuple(name for name, _ in constraints),
        frozenset(id(constraint) for _, constraint in constraints),
    )
