"""Keeps the plan cache below a size: the plans that nobody has used for longest go first."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from keras_trt._base.say import LOGGER
from keras_trt._machine.lock import LOCK_FILE, locked
from keras_trt.errors import InputError

VARIABLE = "KERAS_TRT_CACHE_GB"
DEFAULT = 20.0


def cache_limit() -> float:
    """How many bytes of plans the user's own cache may hold: `KERAS_TRT_CACHE_GB`, 20 GB without it.

    Raises:
        InputError: The variable is no number above 0; `inf` is one.
    """
    text = os.environ.get(VARIABLE) or str(DEFAULT)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not gigabytes > 0:
        raise InputError(f"`{VARIABLE}` must be a number of GB above 0, or inf. Received: {text!r}")
    return gigabytes * 1e9


@contextmanager
def changing(plans: Path) -> Iterator[None]:
    """While open, no other process stores or removes plans.

    Where there are no locks, others are not held off.

    Args:
        plans: The folder of all plans.
    """
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(locked(plans / LOCK_FILE))
        yield


def mark_used(plan: Path) -> None:
    """Notes that a plan has been used now, where the cache can be written."""
    with suppress(OSError):
        os.utime(plan)


def prune(plans: Path, limit: float, keep: Path) -> None:
    """Removes plans, the least recently used first, until the rest is within the limit; inside `changing`.

    A process that runs one has it in memory, and one that is about to read it builds it again.

    Args:
        plans: The folder of all plans.
        limit: In bytes.
        keep: A plan that stays.
    """
    files = []
    for path in plans.glob("*/*.plan"):
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    held = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if held <= limit:
            return
        if path != keep and _removed(path):
            held -= size
            LOGGER.info("The plan cache holds more than %.3g GB: `%s` is removed", limit / 1e9, path)


def _removed(plan: Path) -> bool:
    """Whether a plan is gone, its stamp before it: a stamp alone would count as damage."""
    try:
        plan.with_suffix(".json").unlink(missing_ok=True)
        plan.unlink(missing_ok=True)
    except OSError as e:
        LOGGER.debug("The plan cache's `%s` cannot be removed: %s", plan, e)
        return False
    return True
