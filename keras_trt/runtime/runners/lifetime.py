"""When a runner may be used: by the process that made it, until it is closed, which waits for its users."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from keras_trt.errors import RunnerError

_FORKED = (
    "Its threads and its device did not come along. Start workers with "
    "multiprocessing.get_context('spawn') and call keras_trt.load in them, or load after the fork only."
)
_homes: dict[str, int] = {}
"""The process in which the first runner of each name was made."""


def check_process(name: str) -> None:
    """Sees that the runtime behind a runner was not started by a process of which this one is a fork.

    Raises:
        RunnerError: It was; a new engine would hang or abort there.
    """
    if _homes.setdefault(name, os.getpid()) != os.getpid():
        raise RunnerError(
            f"{name} was started in process {_homes[name]}, of which this one ({os.getpid()}) is a fork. "
            f"{_FORKED}"
        )


class Lifetime:
    """Lets threads in until `end`, which waits until all are out."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._changed = threading.Condition()
        self._inside: Counter[int] = Counter()
        self._ended = False

    @contextmanager
    def use(self) -> Iterator[None]:
        """Holds the end off; a thread may come in again while it is inside.

        Raises:
            RunnerError: It has ended, or this process is a fork.
        """
        if self._process != os.getpid():  # before the lock, which another thread may have held meanwhile
            raise RunnerError(
                f"The engine was loaded in process {self._process}, of which this one ({os.getpid()}) is a "
                f"fork. {_FORKED}"
            )
        me = threading.get_ident()
        with self._changed:
            if self._ended and not self._inside[me]:
                raise RunnerError("The engine is closed. Load the bundle again with keras_trt.load(path).")
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                    self._changed.notify_all()

    def end(self) -> bool:
        """Lets no one in any more, and waits for who is inside.

        Returns:
            Whether what the runner holds can be freed here; not in a fork, where it is another process's.

        Raises:
            RunnerError: This thread itself is inside, e.g. in a callback of `predict`.
        """
        if self._process != os.getpid():
            return False
        with self._changed:
            if self._inside[threading.get_ident()]:
                raise RunnerError("The engine cannot be closed from inside its own `predict`.")
            self._ended = True
            self._changed.wait_for(lambda: not any(self._inside.values()))
        return True
