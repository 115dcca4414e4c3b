"""Says which quantised layers compute now; their kernels then read as quantised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from keras_trt._keras.types import Layer

_RUNNING = threading.local()  # strategies run replicas in threads: what runs is known per thread


@contextmanager
def running(*layers: Layer) -> Iterator[None]:
    """While open (in this thread), the layers' kernels read as quantised."""
    stack = _RUNNING.__dict__.setdefault("layers", [])
    stack.extend(layers)
    try:
        yield
    finally:
        del stack[len(stack) - len(layers) :]


def is_running(layer: Layer) -> bool:
    """Whether the layer is among those of an open `running()`."""
    return any(other is layer for other in getattr(_RUNNING, "layers", ()))
