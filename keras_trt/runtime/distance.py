"""How far two arrays are apart: the one measure by which exports, runners and layers are compared."""

from __future__ import annotations

import numpy as np

FLOOR = float(np.finfo(np.float32).tiny)
"""The smallest norm that a difference is divided by."""


def distance(expected: np.ndarray, actual: np.ndarray) -> tuple[float, float]:
    """(relative, largest absolute) difference of two arrays of one shape.

    The relative one is `|actual - expected| / |expected|` in the L2 norm, of values of any magnitude. Values
    that are not finite in `expected` do not count; where only `actual` is not, both are infinite.

    Example:
        >>> distance(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
        (0.1, 0.5)
    """
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(a[np.isfinite(b)]).all():
        return float("inf"), float("inf")
    gap = np.subtract(a, b, out=np.zeros_like(b), where=np.isfinite(b))
    norm = float(np.linalg.norm(np.where(np.isfinite(b), b, 0.0)))
    return float(np.linalg.norm(gap)) / max(norm, FLOOR), float(np.abs(gap).max(initial=0.0))


def movement(before: np.ndarray, after: np.ndarray) -> float:
    """How far an output moves, relatively; 0 where there is no number for it."""
    relative = distance(before, after)[0] if before.shape == after.shape else 0.0
    return relative if np.isfinite(relative) else 0.0
