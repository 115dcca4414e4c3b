"""Checks of single arguments of public functions; errors name the argument, the rule and the value."""

from __future__ import annotations

import numbers
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from keras_trt.errors import InputError

T = TypeVar("T")


def wrong_argument(name: str, rule: str, received: object) -> InputError:
    """The error for an argument that breaks a rule."""
    return InputError(f"`{name}` must be {rule}. Received: {received!r}")


def check_boolean(value: object, name: str) -> bool:
    """True or False, numpy's too."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return bool(value)
    raise wrong_argument(name, "True or False", value)


def check_count(value: object, name: str) -> None:
    """None, or a whole number from 1, numpy's too; but no True and no 8.0."""
    if value is not None and not (is_whole(value) and value.__index__() >= 1):
        raise wrong_argument(name, "None or a whole number >= 1", value)


def is_number(value: object) -> TypeGuard[float]:
    """A real number, numpy's too; but no True."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """A whole number, numpy's too; but no True, no 8.0 and no array."""
    number = hasattr(value, "__index__") and not isinstance(value, bool | type)
    return number and getattr(value, "shape", ()) == ()


def check_one_of(value: object, allowed: Collection[T], name: str) -> T:
    """One of a few values, of the same type: 1 is not True, and an array is none of them."""
    for one in allowed:
        if type(value) is type(one) and value == one:
            return one
    raise wrong_argument(name, f"one of {list(allowed)}", value)


def check_names(value: object, allowed: tuple[str, ...], name: str) -> tuple[str, ...]:
    """`"auto"`, which is all of some names; None, which is none; or a tuple or list of them."""
    if isinstance(value, str) and value == "auto":
        return allowed
    if value is None:
        return ()
    if isinstance(value, tuple | list) and all(isinstance(one, str) and one in allowed for one in value):
        return tuple(value)
    raise wrong_argument(name, f"'auto', None, or a tuple of names out of {list(allowed)}", value)


def check_verbose(value: object, name: str = "verbose") -> None:
    """How much Keras users let a function say."""
    known = value in (0, 1, 2) if is_whole(value) else isinstance(value, bool)
    if not known and not (isinstance(value, str) and value == "auto"):
        raise wrong_argument(name, "'auto', 0, 1 or 2", value)


def check_text(value: object, name: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise wrong_argument(name, "a text", value)
    return value


def check_path(value: object, name: str = "path") -> Path:
    """A path as text or `os.PathLike`."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise wrong_argument(name, "a path", value)
    path = os.fspath(value)
    if not isinstance(path, str):
        raise wrong_argument(name, "a path, as text", value)
    if "\0" in path:
        raise wrong_argument(name, "a path without null characters", value)
    return Path(path)


def check_function(value: object, name: str, *, optional: bool = True) -> None:
    """Something that can be called; None where it may be left out."""
    if not callable(value) and not (optional and value is None):
        raise wrong_argument(name, "a function", value)


def check_mapping(value: object, name: str) -> dict[str, Any]:
    """A dict with names as keys; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise wrong_argument(name, "a dict with names as keys", value)
    return dict(value)
