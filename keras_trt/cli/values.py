"""Values as they are typed: numbers, sizes, classes of the user's own, names with values."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_trt.cli.result import UsageError
from keras_trt.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


def whole(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number >= 1 is needed. Received: {text!r}")
    return int(text)


def share(text: str) -> float:
    """A number from 0, for argparse."""
    with suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"a number >= 0 is needed. Received: {text!r}")


def wholes(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 behind commas, for argparse: `1,8,32`."""
    return tuple(whole(one.strip()) for one in text.split(","))


def names(text: str) -> tuple[str, ...]:
    """Names behind commas, for argparse; empty for an empty text."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def shape(text: str) -> tuple[str | None, list[int | None]]:
    """`image=1,224,224,3` as a name and a shape, for argparse; `?` is a size that stays open."""
    name, sign, sizes = text.rpartition("=")
    try:
        parsed = [None if size.strip() in ("?", "None") else int(size) for size in sizes.split(",")]
    except ValueError as e:
        raise argparse.ArgumentTypeError(
            f"sizes behind commas are needed, e.g. image=?,224,224,3. Received: {text!r}"
        ) from e
    return (name if sign else None), parsed


def shapes(given: Sequence[tuple[str | None, list[int | None]]] | None) -> Any:
    """The `input_shapes` of `export`: None, one shape, or a dict by input.

    Raises:
        UsageError: Several shapes, and not all with a name.
    """
    if not given:
        return None
    if len(given) == 1 and given[0][0] is None:
        return given[0][1]
    if any(name is None for name, _ in given):
        raise UsageError("--input-shape: of several inputs each needs its name, e.g. image=?,224,224,3.")
    return dict(given)


def bundles(given: Sequence[str]) -> list[str] | dict[str, str]:
    """Bundles as they were typed: paths, or where one has a name, all by their names.

    Raises:
        UsageError: Some have a name and some have none, or two have the same.
    """
    pairs = [_pair(text) for text in given]
    if not any(name for name, _ in pairs):
        return [path for _, path in pairs]
    if not all(name for name, _ in pairs):
        raise UsageError("bundles have names, NAME=BUNDLE, or none has one.")
    if len(dict(pairs)) < len(pairs):
        raise UsageError("two bundles have the same name.")
    return dict(pairs)


def bundles_by_name(given: Sequence[str]) -> dict[str, str]:
    """Bundles as they were typed, by their names; without one, a bundle is named after its folder.

    Raises:
        UsageError: Two have the same name.
    """
    pairs = [(name or Path(path).stem, path) for name, path in map(_pair, given)]
    if len(dict(pairs)) < len(pairs):
        raise UsageError("bundles of one name need others: NAME=BUNDLE.")
    return dict(pairs)


def _pair(text: str) -> tuple[str, str]:
    """The name, which may be empty, and the path of `[NAME=]BUNDLE`."""
    name, sign, path = text.partition("=")
    if sign and not (name and path):
        raise UsageError(f"[NAME=]BUNDLE is needed. Received: {text!r}.")
    return (name, path) if sign else ("", text)


def rows(given: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Models in rows, of `name=model,model,...`.

    Raises:
        UsageError: Not of that form, or two have the same name.
    """
    made: dict[str, tuple[str, ...]] = {}
    for text in given or ():
        name, _, models = text.partition("=")
        if not name or len(names(models)) < 2:
            raise UsageError(f"--ensemble: NAME=MODEL,MODEL,... is needed. Received: {text!r}.")
        if name in made:
            raise UsageError(f"--ensemble: two are named {name!r}.")
        made[name] = names(models)
    return made


def settings(given: Sequence[str] | None) -> dict[str, Any]:
    """`name=value` as a dict; a value is JSON where it can be, else text.

    Raises:
        UsageError: No `=`.
    """
    values = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"name=value is needed, e.g. optimization_level=5. Received: {text!r}.")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values


def custom_objects(given: Sequence[str] | None) -> dict[str, Any]:
    """The user's own classes and functions by name, of `module:name,name`.

    Only modules that were typed are imported, from where Python finds them or from the current folder.

    Raises:
        UsageError: Not of that form.
        InputError: There is no such module, or it has no such name.
    """
    objects: dict[str, Any] = {}
    for text in given or ():
        objects |= {name: imported(f"{text.partition(':')[0]}:{name}") for name in _named(text)}
    return objects


def imported(text: str) -> Any:
    """What a module has under a name, `module:name`.

    Raises:
        UsageError: Not of that form.
        InputError: There is no such module, or it has no such name.
    """
    module_name, (name,) = text.partition(":")[0], _named(text)
    with _current_folder():
        try:
            module = importlib.import_module(module_name)
        except ImportError as e:
            raise InputError(
                f"The module `{module_name}` cannot be imported: {e}. Start in the folder that holds it, or "
                "put that folder into PYTHONPATH."
            ) from e
    if not hasattr(module, name):
        known = [n for n in vars(module) if n.isidentifier() and not n.startswith("_")]
        raise InputError(f"The module `{module_name}` has no `{name}`. It has: {', '.join(known)}")
    return getattr(module, name)


def _named(text: str) -> tuple[str, ...]:
    module_name, sign, listed = text.partition(":")
    if not module_name or not sign or not names(listed):
        raise UsageError(f"module:names is needed, e.g. my_layers:Scale,Shift. Received: {text!r}.")
    return names(listed)


@contextmanager
def _current_folder() -> Iterator[None]:
    """Lets modules be imported from the current folder, as `python -m` does."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
