"""Giving memory back early, where it is worth the time."""

from __future__ import annotations

import gc

_MANY = 5_000


def free_graph(operations: int) -> None:
    """Frees a TensorFlow graph that nothing refers to any more but itself, when it is a large one.

    A collection looks at every object of the process, so after a small graph it costs more than it gives:
    Python will collect it in time.

    Args:
        operations: How many the graph had.
    """
    if operations >= _MANY:
        gc.collect()
