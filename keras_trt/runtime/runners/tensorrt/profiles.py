"""Which of an engine's optimisation profiles takes a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Shape = tuple[int, ...]
Shapes = tuple[tuple[str, Shape], ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Smallest, usual and largest shape by the input's name."""


def profile_for(profiles: Sequence[Profile], shapes: Shapes) -> int | None:
    """The number of the profile whose range holds all shapes; of several, the one optimised for the nearest.

    Example:
        >>> one, many = {"x": ((1, 3), (1, 3), (1, 3))}, {"x": ((1, 3), (16, 3), (64, 3))}
        >>> [profile_for([one, many], (("x", (rows, 3)),)) for rows in (1, 20, 65)]
        [0, 1, None]
    """
    fitting = [number for number, profile in enumerate(profiles) if _holds(profile, shapes)]
    return min(fitting, key=lambda number: _distance(profiles[number], shapes), default=None)


def batch_ranges(profiles: Sequence[Profile], name: str) -> list[tuple[int, int]]:
    """Smallest and largest size of an input's first axis in every profile."""
    return [(profile[name][0][0], profile[name][2][0]) for profile in profiles]


def padded(rows: int, ranges: list[tuple[int, int]]) -> int:
    """The smallest batch, of `rows` or more, that some profile takes; `rows` where none does.

    Example:
        >>> [padded(rows, [(1, 1), (8, 64)]) for rows in (1, 2, 9)]
        [1, 8, 9]
    """
    return min((max(rows, low) for low, high in ranges if rows <= high), default=rows)


def _holds(profile: Profile, shapes: Shapes) -> bool:
    for name, shape in shapes:
        low, _, high = profile[name]
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
    return True


def _distance(profile: Profile, shapes: Shapes) -> float:
    pairs = [pair for name, shape in shapes for pair in zip(shape, profile[name][1], strict=True)]
    return sum(abs(math.log(max(size, 1) / max(usual, 1))) for size, usual in pairs)
