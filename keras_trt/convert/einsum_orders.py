"""Which orders of its letters an einsum is tried in, before it becomes products, Transposes and Reshapes.

tf2onnx tries all and takes the cheapest: a minute for seven letters (attention over the places of an image),
days for nine (of a video).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

_ALL = 6
"""Up to so many letters all orders are tried: 720."""


def orders(equation: str, letters: Sequence[str]) -> Iterable[tuple[str, ...]]:
    """All orders of few letters; of many those 24 that leave together what a product treats alike.

    These are the letters of both operands and the result, those that are summed, and those of one operand.

    Args:
        equation: As `abc,abd->acd`.
        letters: Its letters.
    """
    if len(letters) <= _ALL:
        return itertools.permutations(letters)
    operands, _, result = equation.partition("->")
    terms = operands.split(",")

    def kind(letter: str) -> tuple[bool, ...]:
        return (letter in result, *(letter in term for term in terms))

    written = list(dict.fromkeys(c for c in f"{result}{operands}" if c in letters))
    groups = [list(group) for _, group in itertools.groupby(sorted(written, key=kind), kind)]
    return (tuple(itertools.chain(*order)) for order in itertools.permutations(groups))
