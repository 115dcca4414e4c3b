"""Which inputs of a traced model are integers, where nobody said: those that only serve as positions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# Operators that look up, and which of their inputs is the positions.
_POSITIONS = {"GatherV2": 1, "ResourceGather": 1, "GatherNd": 1, "ResourceGatherNd": 1, "OneHot": 0}
_VIEWS = ("Identity", "StopGradient", "Reshape", "ExpandDims", "Squeeze")
_SHIFTS = (
    "Add",
    "AddV2",
    "Sub",
    "Select",
    "SelectV2",
    "Maximum",
    "Minimum",
)  # of integers
_QUESTIONS = ("Shape", "Equal", "NotEqual", "Less", "GreaterEqual")  # of masks and signs: they fit any type


def is_position(tensor: tf.Tensor) -> bool:
    """Whether a float input is only cast to integers that are looked up, as by an Embedding."""
    looked_up, seen, stack = False, {tensor.name}, [tensor]
    while stack:
        current = stack.pop()
        for operation in current.consumers():
            index = [x.name for x in operation.inputs].index(current.name)
            if operation.type in _QUESTIONS:
                continue
            if _POSITIONS.get(operation.type) == index:
                looked_up = True
            elif not _keeps(operation, index):
                return False
            elif operation.outputs[0].name not in seen:
                seen.add(operation.outputs[0].name)
                stack.append(operation.outputs[0])
    return looked_up


def _keeps(operation: tf.Operation, index: int) -> bool:
    """Whether an operator gives back the positions, perhaps as integers or counted from another end."""
    if operation.type in _VIEWS:
        return index == 0
    return operation.type in ("Cast", *_SHIFTS) and operation.outputs[0].dtype.is_integer


def guesses(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Which of some inputs could be integers: all, one of them, all but one."""
    yield tuple(names)
    if len(names) > 1:
        yield from ((name,) for name in names)
    if len(names) > 2:
        yield from (tuple(other for other in names if other != name) for name in names)
