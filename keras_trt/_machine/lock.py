"""A lock between processes that the system drops when its holder dies."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".lock"
"""The lock of all that is in a folder, as a file in it."""

_LOCKED = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_AGAIN = 0.1  # seconds between two tries; waiting inside the system would not end with Ctrl-C on Windows


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock of a path while open; other processes and other threads wait.

    A process that is killed loses its locks at once, so nothing has to be cleared up. A file system without
    locks gives none: two may then do the same work, and what they write is whole all the same.

    Args:
        path: A file, made where there is none and left there; or a folder (not on Windows).
        waiting: Called once when another holds the lock.
    """
    handle = _open(path)
    try:
        told = False
        while not _taken(handle):
            if waiting is not None and not told:
                waiting()
            told = True
            time.sleep(_AGAIN)
        try:
            yield
        finally:
            _release(handle)
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    if path.is_dir():
        return os.open(path, os.O_RDONLY)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user's file, which can be locked all the same
        return os.open(path, os.O_RDONLY)


def _taken(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno in _LOCKED:
            return False
        if e.errno not in _UNSUPPORTED:
            raise
    return True


def _release(handle: int) -> None:
    """Closing is not enough: a child that was forked meanwhile holds the same lock."""
    with suppress(OSError):  # there was none to be had
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_UN)
