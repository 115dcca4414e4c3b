"""Puts a finished folder or file in the place of another; a kill at any moment leaves one of them whole.

Working folders lie beside the target under names that start with a dot. Their writer holds a `flock` on them,
which the kernel drops when the writer dies: that is how a later writer tells a leftover from live work.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock; leftovers of killed writers stay there until removed by hand
    fcntl = None  # type: ignore[assignment]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_DIGITS = 12  # of the random part of a working folder's name


@contextmanager
def working_folder(target: Path) -> Iterator[Path]:
    """A new, locked folder beside `target`; whatever lies under its name at the end is removed."""
    while True:
        folder = _beside(target, "new")
        folder.mkdir()
        with suppress(FileNotFoundError):  # a cleaner took it between mkdir and lock
            lock = _lock(folder)
            if folder.exists():
                break
            _unlock(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


@contextmanager
def replaced_file(target: Path) -> Iterator[Path]:
    """Yields where to write a file, which takes the place of `target` at the end and is then on the disk."""
    remove_leftovers(target)
    with working_folder(target) as folder:
        beside = folder / target.name
        yield beside
        _sync(beside)
        beside.replace(target)
        sync_folder(target.parent)


def identity(folder: Path) -> tuple[int, int] | None:
    """Tells a folder from another one put in its place; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def swap_in(folder: Path, target: Path, *, overwrite: bool) -> None:
    """Renames `folder` to `target`; with `overwrite` an older folder there trades places with it.

    Raises:
        FileExistsError: Something is at `target` and `overwrite` is False.
    """
    aside = _beside(target, "old")
    while not _rename(folder, target):
        if not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        if _exchange(folder, target):
            return
        _discard(aside, target)  # from an earlier turn: a whole bundle is at `target` by now
        with suppress(FileNotFoundError):  # another writer was faster; the name is free then
            target.rename(aside)
    _discard(aside, target)


def recover(target: Path) -> None:
    """Brings back the old folder of a writer that was killed after moving it aside."""
    if os.path.lexists(target):
        return
    for aside in sorted(_beside_of(target, "old")):
        with suppress(OSError):  # another process may have brought it back meanwhile
            aside.rename(target)
            return


def remove_leftovers(target: Path) -> None:
    """Removes what killed writers of `target` left behind; folders in use stay."""
    recover(target)
    old = _beside_of(target, "old", digits=_DIGITS)
    if os.path.lexists(target):  # asked after the listing: none of these is the only whole one now
        for folder in old:
            _discard(folder, target)
    if fcntl is None:
        return
    for folder in _beside_of(target, "new", digits=_DIGITS):
        try:
            handle = os.open(folder, os.O_RDONLY)
        except OSError:  # gone already
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flushes every file and folder under `folder` to the disk, so that the rename cannot outrun the data."""
    for root, _, names in os.walk(folder):
        for name in names:
            _sync(Path(root) / name)
        _sync(Path(root))


def sync_folder(folder: Path) -> None:
    """Flushes a folder's own entries, i.e. a rename inside it."""
    _sync(folder)


def _sync(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():  # a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY if sys.platform != "win32" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(aside: Path, target: Path) -> None:
    """Removes an old folder under another name first: `recover` must never find half of one."""
    doomed = _beside(target, "new")
    with suppress(FileNotFoundError):  # there is none, or another process brought it back
        aside.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _rename(folder: Path, target: Path) -> bool:
    """Renames onto a free name; False when something is there."""
    try:
        folder.rename(target)
    except OSError as e:
        taken = e.errno in (errno.ENOTEMPTY, errno.EEXIST)
        if taken or (e.errno in (errno.ENOTDIR, errno.EACCES) and target.exists()):
            return False
        raise
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two names in one step (Linux `renameat2`); False where the system or file system cannot."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:  # musl, or a glibc before 2.28
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOENT, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _beside(target: Path, role: str) -> Path:
    return target.parent / f".{target.name}.{role}-{secrets.token_hex(_DIGITS // 2)}"


def _beside_of(target: Path, role: str, digits: int | None = None) -> list[Path]:
    """The folders beside `target` that are named as `_beside` names them; others may be the user's."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.{role}-[0-9a-f]{f'{{{digits}}}' if digits else '+'}")
    try:
        siblings = [entry for entry in os.scandir(target.parent) if pattern.fullmatch(entry.name)]
    except OSError:  # there is no such folder, or it cannot be read
        return []
    return [Path(entry.path) for entry in siblings if entry.is_dir(follow_symlinks=False)]


def _lock(folder: Path) -> int | None:
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)
