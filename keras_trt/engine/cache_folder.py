"""Where plans and measured times are kept between processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from keras_trt.errors import InputError

VARIABLE = "KERAS_TRT_CACHE"


def plan_cache_folder() -> Path:
    """`KERAS_TRT_CACHE`, or `keras_trt` in the user's cache folder. The folder need not exist.

    Raises:
        InputError: Neither is set, and the user has no home.

    Example:
        >>> plan_cache_folder()  # doctest: +SKIP
        PosixPath('/home/me/.cache/keras_trt')
    """
    if chosen := os.environ.get(VARIABLE):
        return folder_named(chosen, VARIABLE)
    try:
        return _users().absolute() / "keras_trt"
    except RuntimeError as e:  # Path.home() found none
        raise InputError(f"There is no home folder to keep plans in: {e} Set {VARIABLE} to a folder.") from e


def folder_named(value: str | Path, name: str) -> Path:
    """An absolute path; `~` is the user's home.

    Raises:
        InputError: There is no such home, or a file is there; names the argument.
    """
    try:
        folder = Path(value).expanduser().absolute()
    except RuntimeError as e:
        raise InputError(f"`{name}` must be the path of a folder: {e} Received: {str(value)!r}") from e
    if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112 - never a PermissionError
        raise InputError(f"`{name}` must be the path of a folder. Received: '{folder}', which is a file")
    return folder


def _users() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"  # XDG: relative paths are ignored
