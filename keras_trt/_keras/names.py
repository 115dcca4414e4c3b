"""Names that are not taken yet."""

from __future__ import annotations

from collections.abc import Iterable


def unique(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first of `name_1`, `name_2`, ... that is not taken."""
    known, candidate, n = set(taken), name, 0
    while candidate in known:
        n += 1
        candidate = f"{name}_{n}"
    return candidate
