"""Choosing layers by hand: what `only=` and `skip=` mean everywhere in this library."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_trt._keras.types import Choices, Layer, Model
from keras_trt.errors import InputError

if TYPE_CHECKING:
    from keras_trt._keras.flavor import Flavor

_NUMBER = re.compile(r"#\d+$")  # of a layer that shares its name, see `Flavor.walk`


def selected(path: str, layer: Layer, only: Choices | None = None, skip: Choices = ()) -> bool:
    """Whether a layer is among `only` (all, when None) and not among `skip`.

    Args:
        path: The layer's path, e.g. `"backbone/conv1"`.
        layer: The layer.
        only: One choice or several; each is a layer name or path (or the name or path of a model or
            layer around it), a regular expression for the same (text, or compiled and then searched),
            a class, a layer object (see `located`; one of another model is taken by its name), or a
            callable `layer -> bool`.
        skip: The same, for the layers to leave out.
    """
    if any(_matches(choice, path, layer) for choice in _choices(skip)):
        return False
    return only is None or any(_matches(choice, path, layer) for choice in _choices(only))


def check_choices(
    layers: Iterable[tuple[str, Layer]],
    only: Choices | None = None,
    skip: Choices = (),
    *,
    scheme: object = (),
) -> None:
    """Makes sure that every name, pattern and class given matches some layer.

    Args:
        layers: (path, layer) of all layers, as `Flavor.walk` gives them.
        only: As in `selected`.
        skip: As in `selected`.
        scheme: Choices of the same kinds, the keys of a mapping to schemes.

    Raises:
        InputError: One of them matches nothing; the message lists close names.
    """
    layers = list(layers)
    for argument, value in (("only", only), ("skip", skip), ("scheme", scheme)):
        for choice in _choices(value):
            if not (callable(choice) or isinstance(choice, str | re.Pattern | _Located) or _is_layer(choice)):
                raise InputError(
                    f"`{argument}` names layers by name, class, regular expression or callable. "
                    f"Received: {choice!r} (of type {type(choice).__name__})"
                )
            if callable(choice) and not isinstance(choice, type) and not _is_layer(choice):
                continue  # a predicate may well be true nowhere
            if not any(_matches(choice, path, layer) for path, layer in layers):
                raise InputError(_no_match(argument, choice, [path for path, _ in layers]))


@dataclass(frozen=True, eq=False)
class _Located:
    """A layer and all that is inside of it, told by what they are and not by their names."""

    name: str
    layers: tuple[Any, ...]

    def __contains__(self, layer: Layer) -> bool:
        return any(layer is other for other in self.layers)


def located(flavor: Flavor, model: Model, choice: object, copy: Model | None = None) -> Any:
    """`only` or `skip` with the layers of a model in it told from others of the same name.

    Args:
        flavor: The model's Keras.
        model: The model that layer objects are looked for in.
        choice: As in `selected`.
        copy: What the choice will be used on; layers are told by their places in it. The model itself, when
            None.
    """
    wanted = [one for one in _choices(choice) if _is_layer(one)]
    if not wanted:
        return choice
    layers = [layer for _, layer in flavor.walk(model)]
    theirs = layers if copy is None else [layer for _, layer in flavor.walk(copy)]
    if len(layers) != len(theirs):
        return choice
    place = {id(layer): i for i, layer in enumerate(layers)}

    def locate(one: Any) -> Any:
        if not _is_layer(one) or id(one) not in place:
            return one
        inside = [inner for _, inner in flavor.walk(one)]
        return _Located(one.name, tuple(theirs[place[id(layer)]] for layer in (one, *inside)))

    matches = tuple(locate(one) for one in _choices(choice))
    return matches if isinstance(choice, (list, tuple, set, frozenset)) else matches[0]


def _choices(value: object) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    return [value]


def _matches(choice: Any, path: str, layer: Layer) -> bool:
    if isinstance(choice, _Located):
        return layer in choice
    if isinstance(choice, type):
        return isinstance(layer, choice)
    if isinstance(choice, re.Pattern):
        return choice.search(path) is not None
    if isinstance(choice, str):
        return any(choice == name or _fullmatch(choice, name) for name in _names(path))
    if _is_layer(choice):
        return choice.name in _names(path)
    if callable(choice):
        return bool(choice(layer))
    raise InputError(
        "Layers are chosen by name, class, regular expression or callable. "
        f"Received: {choice!r} (of type {type(choice).__name__})"
    )


def _names(path: str) -> set[str]:
    """The names a path answers to: `a`, `b`, `c`, `a/b`, `b/c` and `a/b/c` for `a/b/c`.

    `a/b#2`, the second layer called `b` inside `a`, also answers to `b`, but `a/b` is the first one's path.
    """
    segments = path.split("/")
    plain = [_NUMBER.sub("", segment) for segment in segments]
    spans = [(i, j) for i in range(len(segments)) for j in range(i + 1, len(segments) + 1)]
    inner = [(i, j) for i, j in spans if j - i < len(segments) or len(segments) == 1]
    return {"/".join(segments[i:j]) for i, j in spans} | {"/".join(plain[i:j]) for i, j in inner}


def _fullmatch(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:  # a layer's name need not be a regular expression
        return False


def _is_layer(choice: object) -> bool:
    return hasattr(choice, "get_config") and hasattr(choice, "name")


def _no_match(argument: str, choice: Any, paths: list[str]) -> str:
    if isinstance(choice, type):
        kind = f"{choice.__module__}.{choice.__qualname__}"
        return (
            f"`{argument}` names a class that no layer of the model has. Received: {argument}={kind}. "
            "Take the class from the same Keras as the model (keras or tf_keras)."
        )
    given = (
        choice.name
        if _is_layer(choice) or isinstance(choice, _Located)
        else getattr(choice, "pattern", choice)
    )
    names = sorted({name for path in paths for name in (path, path.split("/")[-1])})
    close = difflib.get_close_matches(given, names, n=5, cutoff=0.5)
    hint = f"Close names: {', '.join(close)}." if close else f"Its layers: {', '.join(paths[:20])}."
    return f"`{argument}` matches no layer of the model. Received: {argument}={given!r}. {hint}"
