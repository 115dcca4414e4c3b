"""Tells a bundle's own files from those of the user that lie in the same folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

from keras_trt._machine.lock import LOCK_FILE
from keras_trt.bundle.manifest import MANIFEST_FILE, ONNX_FILE, PROBE_FILE

# What any version of this library has written into a bundle; the manifest lists the rest.
_WRITTEN = (
    MANIFEST_FILE,
    ONNX_FILE,
    f"{ONNX_FILE}.data",
    PROBE_FILE,
    "plans/tensorrt*.plan",
    f"plans/{LOCK_FILE}",
)
# What a process leaves behind that is killed while it adds a plan.
_UNFINISHED = (f".{MANIFEST_FILE}.new-*/*", "plans/.*.plan.new-*/*")
_TFTRT = (
    MANIFEST_FILE,
    "saved_model/saved_model.pb",
    "saved_model/fingerprint.pb",
    "saved_model/variables/variables.*",
    "saved_model/assets/*",
)


def is_bundle(folder: Path) -> bool:
    """Whether a folder has a manifest of this library's, readable or of a later version.

    Example:
        >>> is_bundle(Path("digits.bundle"))
        True
    """
    return bool(_written(folder / MANIFEST_FILE))


_DEEPEST = 3  # folders of such a file: `saved_model/variables/variables.index`


def bundle_holding(path: Path) -> Path | None:
    """The bundle that a file belongs to, whether it is there or only listed; None without one.

    Example:
        >>> bundle_holding(Path("digits.bundle/README.md")) is None
        True
    """
    for folder in path.parents[:_DEEPEST]:
        name = path.relative_to(folder).as_posix()
        if any(fnmatchcase(name, pattern) for pattern in _written(folder / MANIFEST_FILE)):
            return folder
    return None


def foreign_files(folder: Path, most: int | None = None) -> list[str]:
    """What would be lost that is not a bundle's, if the folder was replaced; empty for a bundle.

    Args:
        folder: Any path at which something is.
        most: How many are enough: a home folder has millions, which nobody waits for.

    Returns:
        Paths below `folder`, sorted; all of them when the folder's manifest is not this library's. A folder
        that may not be read is one, with a `/` behind it.

    Raises:
        FileNotFoundError: Nothing is there (any more).
    """
    if not folder.is_dir():
        folder.lstat()
        return [folder.name]
    ours = _written(folder / MANIFEST_FILE)
    foreign = (name for name in _files(folder) if not any(fnmatchcase(name, pattern) for pattern in ours))
    return sorted(islice(foreign, most))


def _files(folder: Path) -> Iterator[str]:
    """Every file below a folder, every link, which is not followed, and every folder that may not be read."""
    closed: list[str] = []

    def note(error: OSError) -> None:
        if not isinstance(error, PermissionError):
            raise error
        closed.append(f"{Path(error.filename).relative_to(folder).as_posix()}/")

    for root, folders, names in os.walk(folder, onerror=note):
        folders.sort()
        links = [name for name in folders if Path(root, name).is_symlink()]
        yield from sorted(Path(root, name).relative_to(folder).as_posix() for name in (*names, *links))
    yield from closed


def _written(manifest: Path) -> tuple[str, ...]:
    """Patterns of the files that belong to a bundle; none when the manifest is somebody else's."""
    try:
        data: Any = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ()
    if not isinstance(data, dict):
        return ()
    if data.get("route") == "tf-trt":
        return _TFTRT if {"precision_mode", "engines", "keras"} <= set(data) else ()
    if not {"format_version", "keras_trt_version", "onnx_sha256"} <= set(data):
        return ()
    external = data.get("external_data")
    plans = data.get("plans")
    listed = [data.get("onnx_file"), *(external if isinstance(external, dict) else ())]
    listed += (
        [plan.get("file") for plan in plans if isinstance(plan, dict)] if isinstance(plans, list) else []
    )
    return (*_WRITTEN, *_UNFINISHED, *(_literal(name) for name in listed if isinstance(name, str)))


def _literal(name: str) -> str:
    """A pattern that matches a name only."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
