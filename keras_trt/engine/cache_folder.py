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
        return Path(chosen).expanduser().absolute()
    try:
        return _users().absolute() / "keras_trt"
    except RuntimeError as e:  # Path.home() found none
        raise InputError(f"There is no home folder to keep plans in: {e} Set {VARIABLE} to a folder.") from e


def _users() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    given = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return given if given.is_absolute() else Path.home() / ".cache"  # XDG: relative paths are ignored
