"""Names that are not taken yet."""

from __future__ import annotations

from collections.abc import Container


def unique(name: str, taken: set[str], *, mark: str = "_", first: int = 1) -> str:
    """`name`, or the first of `name_1`, `name_2`, ... that is not taken; it is added to what is taken.

    Args:
        name: The name wanted.
        taken: The names that are taken.
        mark: What stands between the name and the number.
        first: The first number.

    Example:
        >>> unique("x", {"x", "x_1"})
        'x_2'
    """
    candidate = free(name, taken, mark=mark, first=first)
    taken.add(candidate)
    return candidate


def free(name: str, taken: Container[str], *, mark: str = "_", first: int = 1) -> str:
    """What `unique` gives, but what is taken stays as it is."""
    candidate, n = name, first
    while candidate in taken:
        candidate, n = f"{name}{mark}{n}", n + 1
    return candidate
