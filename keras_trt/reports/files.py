"""Files that reports are written to: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from keras_trt._base.arguments import check_path
from keras_trt._machine.disk import no_folder
from keras_trt._machine.swap import replaced_file
from keras_trt.bundle.contents import bundle_holding
from keras_trt.errors import InputError


@contextmanager
def file_at(path: str | PathLike[str]) -> Iterator[Path]:
    """Yields where to write a file; at the end of the `with` it takes the place of what is at `path`.

    Devices and pipes, such as `/dev/stdout`, are written to directly.

    Raises:
        InputError: There is no such folder, a folder is at `path`, or it cannot be written to.
    """
    target = check_file(path)
    try:
        if target.exists() and not target.is_file():
            yield target
        else:
            with replaced_file(target) as beside:
                yield beside
    except OSError as e:
        if isinstance(e, InputError):
            raise
        raise InputError(f"'{target}' cannot be written: {e}") from e


def check_file(path: str | PathLike[str]) -> Path:
    """Tells before any long work whether a file can be written at `path`.

    Returns:
        The absolute path, with symbolic links followed.

    Raises:
        InputError: There is no such folder, a folder is at `path`, or a bundle's own file.
    """
    given = check_path(path).expanduser()
    if given.exists() and not given.is_file() and not given.is_dir():  # a device or a pipe
        return given
    target = Path(os.path.realpath(given))
    if target.is_dir():
        raise InputError(f"A folder is not replaced by a file. Received: '{target}', a folder")
    if not target.parent.is_dir():
        raise InputError(no_folder(target.parent))
    if (bundle := bundle_holding(target)) is not None:
        raise InputError(
            f"The bundle `{bundle}` would be damaged: '{target.name}' is a file of its own. "
            "Write to another name."
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"The folder '{target.parent}' is read-only, so '{target.name}' cannot be written.")
    return target
