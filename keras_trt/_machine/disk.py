"""Why a file cannot be written: a disk that is full, a folder that is not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def full_disk(error: OSError, target: Path, lost: str) -> str | None:
    """Names the folder whose disk is full, and the way out; None when the error is of another kind.

    Temporary files may lie on another disk than the target, and the error often names no file: then the disk
    with less room is the full one.

    Args:
        error: What a write raised.
        target: What was to be written.
        lost: What the user must know beside it, e.g. "the bundle was not written".
    """
    if error.errno not in _FULL and os.strerror(errno.ENOSPC) not in str(error):  # HDF5 hides the number
        return None
    parent = target.parent
    with suppress(OSError):
        temporary = Path(tempfile.gettempdir()).resolve()
        if temporary.stat().st_dev != parent.stat().st_dev and _is_in(error, temporary, parent):
            return (
                f"The temporary folder `{temporary}` is full: {lost}. Free some space there, or choose "
                f"another folder with the environment variable TMPDIR. ({error})"
            )
    return f"The disk is full: {lost}. Free some space in `{parent}` and try again. ({error})"


def no_folder(path: Path) -> str:
    """Why a path is no folder, and the way out.

    Example:
        >>> no_folder(Path("/absent/models"))
        "There is no folder '/absent/models'. Make it with: mkdir -p '/absent/models'"
    """
    there = next(one for one in (path, *path.parents) if one.exists() or one == one.parent)
    if there.is_dir():
        return f"There is no folder '{path}'. Make it with: mkdir -p '{path}'"
    return f"'{there}' is a file, no folder. Choose another path."


def _is_in(error: OSError, temporary: Path, parent: Path) -> bool:
    """Whether the write that failed was in the temporary folder."""
    if isinstance(error.filename, str):
        return Path(error.filename).resolve().is_relative_to(temporary)
    return shutil.disk_usage(temporary).free < shutil.disk_usage(parent).free
