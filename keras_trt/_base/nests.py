"""Structures of inputs and outputs: one leaf, or lists and dicts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Nest = Any
"""A structure of leaves: one leaf, a list or tuple of nests, or a dict of nests."""


def map_nest(
    function: Callable[[Any, str | None], object],
    nest: Nest,
    *,
    is_leaf: Callable[[Any], bool] = lambda _: False,
    key: str | None = None,
) -> Nest:
    """The same nest (of lists, plain tuples and dicts) with `function(leaf, key)` for each leaf, in order.

    `key` is the nearest dict key above the leaf, or None.
    """
    if not is_leaf(nest):
        if isinstance(nest, Mapping):
            return {str(k): map_nest(function, v, is_leaf=is_leaf, key=str(k)) for k, v in nest.items()}
        if isinstance(nest, list | tuple):
            mapped = [map_nest(function, v, is_leaf=is_leaf, key=key) for v in nest]
            return tuple(mapped) if isinstance(nest, tuple) else mapped
    return function(nest, key)


def leaves_of(nest: Nest) -> Iterator[Any]:
    """The leaves of a nest, in order."""
    leaves: list[Any] = []
    map_nest(lambda leaf, _: leaves.append(leaf), nest)
    return iter(leaves)


def zip_nests(names: Nest, nest: Nest) -> Iterator[tuple[str, Any]]:
    """(name, leaf) pairs of a nest of names and a nest of the same structure; dicts pair up by key."""
    if isinstance(names, dict):
        by_key = {str(k): v for k, v in nest.items()}
        for key, child in names.items():
            yield from zip_nests(child, by_key[key])
    elif isinstance(names, list | tuple):
        for child, value in zip(names, nest, strict=True):
            yield from zip_nests(child, value)
    else:
        yield names, nest
