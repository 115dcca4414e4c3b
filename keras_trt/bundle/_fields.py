"""Checks of single manifest fields; each error names the field, the rule and what was received."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from keras_trt.errors import BundleError


def wrong(name: str, rule: str, received: object) -> BundleError:
    """The error for field `name` that breaks `rule`."""
    return BundleError(f"The bundle's manifest: `{name}` must be {rule}. Received: {received!r}")


def text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise wrong(name, "a non-empty text", value)
    return value


def integer(value: object, name: str, minimum: int) -> int:
    if type(value) is not int or not minimum <= value < 2**63:
        raise wrong(name, f"a whole number >= {minimum}", value)
    return value


def choice(value: object, allowed: tuple[object, ...], name: str) -> None:
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise wrong(name, f"one of {list(allowed)}", value)


def sha256(value: object, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise wrong(name, "a SHA-256 of 64 lower-case hex digits", value)
    return value


def relative_file(value: object, name: str) -> str:
    """A file inside the bundle; a manifest must not point elsewhere on the reader's disk."""
    path = text(value, name)
    if "\0" in path:
        raise wrong(name, "a path without null characters", path)
    posix = PurePosixPath(path)
    if posix.is_absolute() or ".." in posix.parts or PureWindowsPath(path).drive or "\\" in path:
        raise wrong(name, "a path inside the bundle, without '..'", path)
    return path


def mapping(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(name, "a JSON object", value)
    return value


def sequence(value: object, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise wrong(name, "a JSON array", value)
    return list(value)


def pick(data: dict[str, object], kind: type, where: str) -> dict[str, Any]:
    """The entries of `data` that are fields of the dataclass `kind`; those without default must be there."""
    specs = dataclasses.fields(kind)
    required = [f.name for f in specs if f.default is f.default_factory is dataclasses.MISSING]
    missing = [name for name in required if name not in data]
    if missing:
        raise BundleError(f"The bundle's manifest: `{where}` lacks {missing}. It has: {sorted(data)}")
    return {f.name: data[f.name] for f in specs if f.name in data}
