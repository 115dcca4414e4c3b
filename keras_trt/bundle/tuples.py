"""Where a structure of tensor names has tuples, which JSON does not know from lists."""

from __future__ import annotations

from typing import Any

from keras_trt._base.nests import Nest
from keras_trt.bundle import _fields as fields

Place = list[Any]
"""The keys and positions that lead from the whole structure to a part."""


def tuples_in(nest: Nest) -> list[Place]:
    """The places of the tuples in a nest, inner ones first.

    Example:
        >>> tuples_in({"a": ("x", ["y"])})
        [['a']]
    """
    if isinstance(nest, str):
        return []
    items = nest.items() if isinstance(nest, dict) else enumerate(nest)
    inner = [[key, *place] for key, child in items for place in tuples_in(child)]
    return [*inner, []] if isinstance(nest, tuple) else inner


def with_tuples(nest: object, places: object, name: str) -> Any:
    """A nest with tuples for the lists at these places; `name` is the manifest's entry that has them.

    Raises:
        BundleError: There is no list at one of them.
    """
    for place in fields.sequence(places, name):
        nest = _with_tuple(nest, fields.sequence(place, name), name)
    return nest


def _with_tuple(nest: object, place: Place, name: str) -> Any:
    if not place and isinstance(nest, list):
        return tuple(nest)
    key = place[0] if place else None
    if isinstance(nest, dict) and isinstance(key, str) and key in nest:
        return {**nest, key: _with_tuple(nest[key], place[1:], name)}
    if isinstance(nest, list) and type(key) is int and 0 <= key < len(nest):
        return [*nest[:key], _with_tuple(nest[key], place[1:], name), *nest[key + 1 :]]
    raise fields.wrong(name, "places of lists in the structure", place)
