"""Checks of single options of an `EngineConfig`; errors name the option, the rule and the value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from keras_trt._base.arguments import check_mapping, check_one_of, check_path, is_whole, wrong_argument
from keras_trt._base.tensors import BATCH_AXIS
from keras_trt.engine.machine.cache_folder import folder_named
from keras_trt.engine.profile import sizes_of


def profiles(value: object) -> tuple[dict[str, Any], ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise wrong_argument("profiles", "None or a list of dicts such as {'batch': (1, 8, 32)}", value)
    return tuple(_profile(one, f"profiles[{i}]") for i, one in enumerate(value))


def _profile(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise wrong_argument(name, "a dict such as {'batch': (1, 8, 32)}", value)
    sizes = {key: _sizes(one, f"{name}[{key!r}]") for key, one in check_mapping(value, name).items()}
    if BATCH_AXIS in sizes:
        sizes_of(sizes[BATCH_AXIS], f"{name}[{BATCH_AXIS!r}]")
    return sizes


def _sizes(value: object, name: str, depth: int = 0) -> Any:
    """A size, (min, opt, max), or a shape of those with None where nothing is said."""
    if isinstance(value, list | tuple) and depth < 2 and value:
        return tuple(_sizes(one, name, depth + 1) for one in value)
    if value is None and depth:
        return None
    if isinstance(value, list | tuple) or value is None:
        raise wrong_argument(name, "a size, (min, opt, max), or a shape of those", value)
    return whole(value, name, 1)


def whole(value: object, name: str, least: int, most: int | None = None, what: str = "") -> int | None:
    if value is None:
        return None
    number_given = value.__index__() if is_whole(value) else least - 1
    if not least <= number_given <= (2**63 - 1 if most is None else most):
        limits = f">= {least}" if most is None else f"from {least} to {most}"
        raise wrong_argument(name, f"None or a whole number{what} {limits}", value)
    return number_given


def choice(value: object, allowed: tuple[str, ...], name: str) -> str | None:
    return None if value is None else check_one_of(value, allowed, name)


def timing_cache(value: object) -> bool | str:
    if isinstance(value, str | os.PathLike):
        return str(folder_named(check_path(value, "timing_cache"), "timing_cache"))
    if isinstance(value, bool):
        return value
    raise wrong_argument("timing_cache", "True, False, or the path of a folder", value)


def capabilities(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else value
    known = isinstance(names, list | tuple) and all(
        isinstance(n, str) and re.fullmatch(r"SM\d{2,3}", n) for n in names
    )
    if not isinstance(names, list | tuple) or not names or not known:
        raise wrong_argument("compute_capabilities", "None or GPU classes such as ['SM86', 'SM89']", value)
    return tuple(dict.fromkeys(names))


def plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value
