"""What `input_shapes` may hold: shapes by input name, by key or by position, with sizes, names or ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from keras_trt._base.nests import Nest, leaves_of, map_nest
from keras_trt.errors import InputError


def is_shape(x: object) -> bool:
    """Whether `x` is one shape (or a spec with one), not a list of shapes."""
    if hasattr(x, "shape"):
        return True
    if not isinstance(x, list | tuple):
        return False
    plain = [d is None or isinstance(d, int | str) for d in x]
    return all(ok or _is_range(d) for ok, d in zip(plain, x, strict=True)) and (any(plain) or not x)


def _is_range(x: object) -> bool:
    """Whether `x` is the (min, opt, max) of a dynamic axis."""
    return isinstance(x, list | tuple) and len(x) == 3 and all(isinstance(d, int) for d in x)


def axes_of(leaf: Any) -> tuple[Any, ...]:
    """The axes of a shape or spec; None where it gives a range."""
    shape = tuple(leaf.shape) if hasattr(leaf, "shape") else tuple(leaf)
    return tuple(None if _is_range(axis) else axis for axis in shape)


def ranges_of(axes: Sequence[Any], leaf: Any) -> dict[str, tuple[int, int, int]]:
    """The ranges that a shape gives for dynamic axes."""
    shape = tuple(leaf.shape) if hasattr(leaf, "shape") else tuple(leaf)
    return {
        str(axis): (asked[0], asked[1], asked[2])
        for axis, asked in zip(axes, shape, strict=True)
        if _is_range(asked)
    }


def sizes_by_axis(given: object, inputs: Iterable[object]) -> tuple[Any, dict[str, tuple[int, int, int]]]:
    """What `input_shapes` gives for inputs, and the ranges that it gives for axes by their names.

    Args:
        given: As the user passed it.
        inputs: The names and keys of the inputs.
    """
    if not isinstance(given, Mapping):
        return given, {}
    known = set(inputs)
    axes = {key: tuple(value) for key, value in given.items() if key not in known and _is_range(value)}
    shapes = {key: value for key, value in given.items() if key not in axes}
    return shapes or None, axes


def pair_shapes(structure: Nest, given: Any, *, whole: Nest = None) -> Iterator[tuple[str, Any]]:
    """(input name, shape) pairs: dicts pair up by name or key, shapes without keys by position.

    Args:
        structure: The nest of input names.
        given: A nest of shapes; dicts may leave inputs out.
        whole: The nest that `structure` is a part of.

    Raises:
        InputError: An unknown name or key, or another number of shapes.
    """
    whole = structure if whole is None else whole
    if isinstance(given, Mapping):
        names = dict.fromkeys(leaves_of(structure))
        keys = structure if isinstance(structure, dict) and not set(given) <= set(names) else {}
        if unknown := [key for key in given if str(key) not in keys and key not in names]:
            raise InputError(_unknown(unknown, whole, given))
        for key, child in given.items():
            yield from pair_shapes(keys.get(str(key), key), child, whole=whole)
        return
    children = list(structure.values()) if isinstance(structure, dict) else structure
    nested = not isinstance(children, str) and isinstance(given, list | tuple) and not is_shape(given)
    if nested and len(given) == len(children):
        for child, shape in zip(children, given, strict=True):
            yield from pair_shapes(child, shape, whole=whole)
        return
    yield from _by_position(list(leaves_of(structure)), given)


def _by_position(names: list[str], given: object) -> Iterator[tuple[str, Any]]:
    shapes: list[Any] = []
    map_nest(lambda shape, _: shapes.append(shape), given, is_leaf=is_shape)
    if len(shapes) != len(names):
        raise InputError(
            f"`input_shapes` must hold one shape for each of the inputs {names}. "
            f"Received: input_shapes={given!r}"
        )
    yield from zip(names, shapes, strict=True)


def complete(recorded: Nest, given: object) -> Nest:
    """The shapes to trace a model without a layer graph with; of a dict, those not given as recorded.

    Raises:
        InputError: A key that the model was not called with.
    """
    if not isinstance(given, Mapping) or not isinstance(recorded, Mapping):
        return recorded if given is None else given
    if unknown := [key for key in given if key not in recorded]:
        raise InputError(_unknown(unknown, {str(key): str(key) for key in recorded}, given))
    return {**recorded, **given}


def _unknown(unknown: list[Any], structure: Nest, given: Any) -> str:
    names = list(leaves_of(structure))
    keys = list(structure) if isinstance(structure, dict) and set(structure) != set(names) else []
    known = f"the inputs are {names}" + (f", their keys {keys}" if keys else "")
    return f"`input_shapes` names unknown inputs {unknown}; {known}. Received: input_shapes={dict(given)!r}"
