"""Writes a bundle whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keras_trt._base.arguments import check_boolean, check_path
from keras_trt._machine.disk import full_disk, no_folder
from keras_trt._machine.swap import (
    identity,
    remove_leftovers,
    swap_in,
    sync_folder,
    sync_tree,
    working_folder,
)
from keras_trt.bundle.contents import foreign_files
from keras_trt.bundle.manifest import MANIFEST_FILE, Manifest
from keras_trt.bundle.read import read_bundle
from keras_trt.errors import BundleError, BundleExistsError

_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR)
"""What a place says that no folder can be made in."""
_SHOWN = 5  # names of files that are in the way


def check_target(path: str | Path, overwrite: bool = False) -> Path:
    """Tells before any long work whether a bundle can be written at `path`.

    Args:
        path: The bundle's folder to be.
        overwrite: Whether an older bundle there may be replaced. Anything else is never replaced.

    Returns:
        The absolute path, with symbolic links followed.

    Raises:
        BundleExistsError: Something is there already.
        BundleError: The parent folder is missing or cannot be written to.
    """
    check_boolean(overwrite, "overwrite")
    target = Path(os.path.realpath(check_path(path).expanduser()))
    parent = target.parent
    if not parent.is_dir():
        raise BundleError(f"Cannot write a bundle at `{target}`. {no_folder(parent)}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BundleError(f"Cannot write a bundle at `{target}`: its folder `{parent}` is read-only.")
    remove_leftovers(target)
    if os.path.lexists(target):
        _check_replaceable(target, overwrite)
    return target


@contextmanager
def write_bundle(
    path: str | Path, overwrite: bool = False, *, check: Callable[[Path], object] = read_bundle
) -> Iterator[Path]:
    """Yields an empty folder to fill; at the end of the `with` it becomes the bundle at `path` in one step.

    When the body raises, or the process is killed at any moment, `path` stays what it was.

    Args:
        path: The bundle's folder to be.
        overwrite: Replace an older bundle there.
        check: Called with the filled folder; raises what is wrong with it.

    Raises:
        BundleExistsError: Something is there already, also when another process put it there meanwhile.
        BundleError: The parent folder cannot be written to, the disk is full, or the body left files out.

    Example:
        >>> with write_bundle("digits.bundle") as folder:  # doctest: +SKIP
        ...     onnx.save(model, folder / "model.onnx")
        ...     write_manifest(folder, manifest)
    """
    target = check_target(path, overwrite)
    try:
        with working_folder(target) as folder:
            yield folder
            check(folder)
            sync_tree(folder)
            if overwrite and os.path.lexists(target):
                _check_replaceable(target, overwrite)  # the user may have put something there meanwhile
            try:
                swap_in(folder, target, overwrite=overwrite)
            except FileExistsError as e:
                raise _exists(target) from e
            sync_folder(target.parent)
    except OSError as e:
        lost = f"the bundle `{target}` was not written and nothing of it was left behind"
        full = full_disk(e, target, lost)
        if full is not None:
            raise BundleError(full) from e
        if e.errno in _REFUSED and not isinstance(e, BundleError):
            raise BundleError(f"Cannot write the bundle `{target}`: {e}") from e
        raise


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Writes `manifest.json` into the folder that `write_bundle` yielded."""
    (Path(folder) / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _check_replaceable(target: Path, overwrite: bool) -> None:
    if not overwrite:
        raise _exists(target)
    others = _settled_foreign_files(target)
    if others:
        more = ", ..." if len(others) > _SHOWN else ""
        shown = ", ".join(f"`{name}`" for name in others[:_SHOWN]) + more
        raise BundleExistsError(
            f"`{target}` is not a bundle, or not only one, so overwrite=True does not replace it. "
            f"Not a bundle's: {shown}. Move what you need, or choose another path."
        )


def _settled_foreign_files(target: Path) -> list[str]:
    """Looks again when another writer has replaced the folder between its files and its manifest."""
    while (seen := identity(target)) is not None:  # as it is of a link to nowhere
        with suppress(FileNotFoundError):
            others = foreign_files(target, _SHOWN + 1)
            if not others or identity(target) == seen:
                return others
    return []


def _exists(target: Path) -> BundleExistsError:
    return BundleExistsError(
        f"`{target}` exists already. Pass overwrite=True to replace it, or choose another path."
    )
