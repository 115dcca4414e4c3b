"""Times the stages of an export and shows them as they pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from keras_trt._base.say import say_begun, say_done


@dataclass
class Stages:
    """One stage after the other.

    Attributes:
        verbose: 1 prints a line a stage, 0 nothing.
        seconds: How long each stage took, by name.

    Example:
        >>> stages = Stages(verbose=0)
        >>> with stages("trace"):
        ...     pass
    """

    verbose: int
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times the body of a `with`."""
        say_begun(f"{name:>12}", self.verbose)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        say_done(f"{name:>12}", f"{self.seconds[name]:7.2f} s", self.verbose)
