"""Copies within the host: large ones by several threads, as one alone is slower than the GPU's own copies."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

import numpy as np

_BYTES = 1 << 20
"""So many bytes are worth a thread."""
_THREADS = min(8, os.cpu_count() or 1)


def copy_into(target: np.ndarray, source: np.ndarray) -> None:
    """Writes an array into another one of its shape, and casts it to its dtype."""
    pieces = min(_THREADS, target.nbytes // _BYTES, len(target) if target.ndim else 1)
    if pieces < 2:
        target[...] = source
        return
    bounds = [len(target) * piece // pieces for piece in range(pieces + 1)]
    rows = [slice(*pair) for pair in pairwise(bounds)]
    others = [_pool().submit(_assign, target[some], source[some]) for some in rows[1:]]
    try:
        _assign(target[rows[0]], source[rows[0]])
    finally:
        wait(others)
    for other in others:
        other.result()


def _assign(target: np.ndarray, source: np.ndarray) -> None:
    target[...] = source


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS - 1, thread_name_prefix="keras_trt-copy")
