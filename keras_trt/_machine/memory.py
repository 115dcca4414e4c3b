"""What memory there is, and giving it back early, where it is worth the time."""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress

_MANY = 5_000
_LARGE = 2**24


def installed() -> int | None:
    """The bytes of this machine's memory; None where the system does not tell."""
    with suppress(AttributeError, ValueError, OSError):  # Windows has no `sysconf`
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def free_graph(operations: int) -> None:
    """Frees a TensorFlow graph that nothing refers to any more but itself, when it is a large one.

    A collection looks at every object of the process, so after a small graph it costs more than it gives:
    Python will collect it in time.

    Args:
        operations: How many the graph had.
    """
    if operations >= _MANY:
        gc.collect()


def give_back(used: int) -> None:
    """Returns memory that is free, but still held by the C library, to the system; where that can be asked.

    Weights of some megabytes each leave hundreds of megabytes with glibc.

    Args:
        used: About how many bytes were used; few are not worth the time.
    """
    if used < _LARGE:
        return
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # other C libraries; Windows
        return
    trim(0)
