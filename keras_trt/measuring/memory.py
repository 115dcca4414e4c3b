"""How much memory something takes at most, as the system counts it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from keras_trt._machine.memory import give_back

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the largest resident size back to the present one
_LARGE = 2**30


@dataclass
class Growth:
    """Of the process.

    Attributes:
        bytes: By how much the largest resident size of a `with` exceeded the one before it; None where the
            system does not tell.
    """

    bytes: int | None = None


@contextmanager
def growth() -> Iterator[Growth]:
    """Measures the body of a `with`. Memory that was free in this process before is not counted."""
    gc.collect()
    give_back(_LARGE)
    measured, before = Growth(), _resident("VmRSS")
    told = before is not None and _reset()
    yield measured
    peak = _resident("VmHWM")
    if told and peak is not None and before is not None:
        measured.bytes = max(peak - before, 0)


def _reset() -> bool:
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
        return True
    return False


def _resident(name: str) -> int | None:
    """A size in bytes; None outside Linux."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None
