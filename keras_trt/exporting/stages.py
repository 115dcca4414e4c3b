"""Times the stages of an export and shows them as they pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


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
        if self.verbose:
            print(f"{name:>12} ...", end="", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        if self.verbose:
            print(f"\r{name:>12} {self.seconds[name]:7.2f} s", flush=True)
