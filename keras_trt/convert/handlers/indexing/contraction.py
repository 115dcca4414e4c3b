"""An einsum of two operands as Transposes around one MatMul or Mul, without sums over computed shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes

Shape = Sequence[int] | None
_OPEN = -1  # a size that is known only when the engine runs, as tf2onnx writes it and as Reshape takes it


def lowered(
    terms: Sequence[str], result: str, shapes: Sequence[Shape]
) -> Callable[[Nodes, Sequence[str]], str] | None:
    """The function of (nodes, operands) that writes an einsum; None where sizes that it must merge are open.

    Args:
        terms: The letters of the operands, each at most once in each.
        result: The letters of the result.
        shapes: The operands' shapes, with -1 for open sizes, or None.
    """
    if len(terms) != 2 or any(set(term) - set(result) - set(other) for term, other in _pairs(terms)):
        return None
    if set(result) == set(terms[0]) | set(terms[1]):
        return lambda add, operands: _multiplied(add, terms, result, operands)
    product = _Product.of(terms, result, shapes)
    swapped = _Product.of(terms[::-1], result, shapes[::-1])
    best, turned = min(
        ((product, False), (swapped, True)), key=lambda each: (not each[0].is_possible, each[0].cost)
    )
    if not best.is_possible:
        return None
    return lambda add, operands: best.write(add, operands[::-1] if turned else operands)


def _pairs(terms: Sequence[str]) -> list[tuple[str, str]]:
    return [(terms[0], terms[1]), (terms[1], terms[0])]


def _multiplied(add: Nodes, terms: Sequence[str], result: str, operands: Sequence[str]) -> str:
    """Nothing is summed: the operands, each with all of the result's axes, multiplied."""
    aligned = []
    for term, x in zip(terms, operands, strict=True):
        turned = _transposed(add, x, term, "".join(c for c in result if c in term))
        missing = [i for i, c in enumerate(result) if c not in term]
        aligned.append(add("Unsqueeze", turned, add.const(missing, np.int64)) if missing else turned)
    return add("Mul", *aligned)


@dataclass(frozen=True)
class _Product:
    """(shared, left, summed) times (shared, summed, right); each group may have any number of letters.

    Attributes:
        terms: The operands' letters.
        result: The result's.
        sizes: Of each letter; -1 where it is open.
        shared: Letters of both operands and the result.
        left: Letters of the first operand and the result.
        right: Letters of the second operand and the result.
        summed: Letters of both operands that are summed over.
    """

    terms: Sequence[str]
    result: str
    sizes: dict[str, int]
    shared: str
    left: str
    right: str
    summed: str

    @classmethod
    def of(cls, terms: Sequence[str], result: str, shapes: Sequence[Shape]) -> _Product:
        """The groups of an equation's letters."""
        first, second = terms
        sizes: dict[str, int] = {}
        for term, shape in zip(terms, shapes, strict=True):
            for letter, size in zip(term, shape or [_OPEN] * len(term), strict=True):
                sizes[letter] = max(sizes.get(letter, _OPEN), size)
        shared = "".join(c for c in result if c in first and c in second)
        left, right = ("".join(c for c in result if c in term and c not in shared) for term in terms)
        summed = "".join(c for c in first if c in second and c not in result)
        return cls(terms, result, sizes, shared, left, right, summed)

    @property
    def is_possible(self) -> bool:
        """Whether every Reshape that this takes can be written with at most one open size."""
        return all(
            sum(size == _OPEN for size in target) <= 1
            for target in (*self._merged, self._split)
            if target is not None
        )

    @property
    def cost(self) -> int:
        """How many nodes it takes beside the MatMul."""
        orders = ((self.terms[0], self._first), (self.terms[1], self._second), (self._made, self.result))
        return sum(a != b for a, b in orders) + sum(t is not None for t in (*self._merged, self._split))

    @property
    def _first(self) -> str:
        return self.shared + self.left + self.summed

    @property
    def _second(self) -> str:
        return self.shared + self.summed + self.right

    @property
    def _made(self) -> str:
        return self.shared + self.left + self.right

    @property
    def _merged(self) -> tuple[list[int] | None, list[int] | None]:
        """What the operands are reshaped to, if they are: a MatMul takes one axis of each kind.

        Where nothing is shared, the first operand may have any number of rows' axes.
        """
        lead = [0] * len(self.shared)
        rows = [0] * len(self.left) if not self.shared and self.left else [self._size(self.left)]
        first = (
            None
            if self._is_plain(self.left) and len(self.summed) == 1
            else [*lead, *rows, self._size(self.summed)]
        )
        plain = len(self.summed) == 1 and len(self.right) == 1
        return first, None if plain else [*lead, self._size(self.summed), self._size(self.right)]

    @property
    def _split(self) -> list[int] | None:
        """What the product is reshaped to, if it is."""
        if self._is_plain(self.left) and len(self.right) == 1:
            return None
        rows = len(self.left) if not self.shared else 0
        copied = [0] * (len(self.shared) + rows)
        return copied + [self.sizes[c] for c in self._made[len(copied) :]]

    def _is_plain(self, left: str) -> bool:
        return len(left) == 1 or (not self.shared and len(left) > 1)

    def _size(self, letters: str) -> int:
        sizes = [self.sizes[c] for c in letters]
        return _OPEN if _OPEN in sizes else math.prod(sizes)

    def write(self, add: Nodes, operands: Sequence[str]) -> str:
        """Writes the nodes; returns the result."""
        turned = [
            _transposed(add, x, term, order)
            for x, term, order in zip(operands, self.terms, (self._first, self._second), strict=True)
        ]
        turned = [_reshaped(add, x, target) for x, target in zip(turned, self._merged, strict=True)]
        made = _reshaped(add, add("MatMul", *turned), self._split)
        return _transposed(add, made, self._made, self.result)


def _transposed(add: Nodes, x: str, letters: str, order: str) -> str:
    if letters == order:
        return x
    return add("Transpose", x, perm=[letters.index(c) for c in order])


def _reshaped(add: Nodes, x: str, target: list[int] | None) -> str:
    return x if target is None else add("Reshape", x, add.const(target, np.int64))
