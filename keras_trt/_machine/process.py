"""Changes to what all threads of a process share, one at a time; docs/design.md lists them.

TensorFlow, tf2onnx and Keras keep state in modules, classes and the user's own layers that some work here has
to change for a while. Whoever changes it holds the lock meanwhile and puts it back in `finally`, so that two
threads do not see each other's changes and nothing stays after an error or Ctrl-C.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_LOCK = threading.RLock()
_ABSENT = object()


@contextmanager
def alone() -> Iterator[None]:
    """While open, no other thread is inside `alone()`; the same thread may be, several times."""
    with _LOCK:
        yield


@contextmanager
def attributes_replaced() -> Iterator[Callable[[Any, str, Any], None]]:
    """Yields `replace(obj, name, value)`, which sets attributes of an instance until the end of the `with`.

    They are set past the object's own `__setattr__`, so that Keras tracks none of them. What the instance
    held itself comes back, also after an exception; what it had from its class only is its class's again.

    Example:
        >>> class Layer:
        ...     call = "Keras's"
        >>> layer = Layer()
        >>> with attributes_replaced() as replace:
        ...     replace(layer, "call", "ours")
        ...     layer.call
        'ours'
        >>> layer.call, vars(layer)
        ("Keras's", {})
    """
    with alone(), ExitStack() as undo:

        def replace(obj: object, name: str, value: object) -> None:
            # Noted before it is done: Ctrl-C may come in between.
            undo.callback(_put_back, obj, name, vars(obj).get(name, _ABSENT))
            object.__setattr__(obj, name, value)

        yield replace


def _put_back(obj: object, name: str, before: object) -> None:
    if before is not _ABSENT:
        object.__setattr__(obj, name, before)
    else:
        vars(obj).pop(name, None)
