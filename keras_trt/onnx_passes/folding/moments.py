"""What a tensor is in terms of another one, of its mean and of its deviation, worked out exactly.

Normalisations are written in many ways: `(x - m) / s * g + b`, `x * (g * r) + (b - m * g * r)`, variances as
`mean((x - m)^2)` or `mean(x^2) - m^2`. As polynomials all of them are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Powers = tuple[int, int, int, int]
"""The powers of: the tensor x, its mean m, the mean q of its squares, and r = 1 / sqrt(variance + epsilon).

The variance is q - m^2 about the mean, and q about zero, as RMS normalisation has it.
"""

ONE: Powers = (0, 0, 0, 0)
_X, _M, _M2, _Q = (1, 0, 0, 0), (0, 1, 0, 0), (0, 2, 0, 0), (0, 0, 1, 0)
_XR, _MR = (1, 0, 0, 1), (0, 1, 0, 1)
_MEANS = {0: ONE, 1: _M, 2: _Q}  # of powers of x
_MOST_TERMS = 12


@dataclass(frozen=True)
class Polynomial:
    """A sum of products of x, m, q and r, each with a constant factor.

    Attributes:
        terms: Arrays that broadcast against x, by the powers that they multiply.
        epsilon: What is added to the variance in r; None while there is no r.
        about_mean: Whether that variance is about the mean, and not about zero.
    """

    terms: Mapping[Powers, np.ndarray]
    epsilon: float | None = None
    about_mean: bool = True

    @classmethod
    def of_tensor(cls) -> Polynomial:
        """The tensor x itself."""
        return cls({_X: np.ones((), np.float64)})

    @classmethod
    def of_constant(cls, array: np.ndarray) -> Polynomial:
        """A constant."""
        return cls({ONE: array.astype(np.float64)})

    def plus(self, other: Polynomial, sign: int = 1) -> Polynomial | None:
        """The sum; None where the two know different standard deviations."""
        terms = dict(self.terms)
        for powers, factor in other.terms.items():
            terms[powers] = terms[powers] + sign * factor if powers in terms else sign * factor
        return self._with(terms, other)

    def times(self, other: Polynomial) -> Polynomial | None:
        """The product; None where the two know different standard deviations, or it grows too long."""
        terms: dict[Powers, np.ndarray] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                i, j, k, n = (p + q for p, q in zip(left, right, strict=True))
                terms[i, j, k, n] = terms[i, j, k, n] + a * b if (i, j, k, n) in terms else a * b
        return self._with(terms, other)

    def mean(self) -> Polynomial | None:
        """The mean over the axes that m and q are of; None where that is no polynomial of them."""
        terms: dict[Powers, np.ndarray] = {}
        for (x, m, q, r), factor in self.terms.items():
            if x not in _MEANS or factor.size != 1:
                return None
            _, more_m, more_q, _ = _MEANS[x]
            powers = (0, m + more_m, q + more_q, r)
            terms[powers] = terms[powers] + factor if powers in terms else factor
        return self._with(terms, self)

    def root(self) -> Polynomial | None:
        """The square root, which only a variance with an epsilon has here."""
        if self.epsilon is not None or any(factor.size != 1 for factor in self.terms.values()):
            return None
        numbers = {powers: float(factor.reshape(())) for powers, factor in self.terms.items()}
        epsilon = numbers.pop(ONE, 0.0)
        if numbers not in ({_Q: 1.0, _M2: -1.0}, {_Q: 1.0}) or epsilon < 0:
            return None
        return Polynomial({(0, 0, 0, -1): np.ones((), np.float64)}, epsilon, _M2 in numbers)

    def inverse(self) -> Polynomial | None:
        """1 / itself, for constants and powers of r."""
        if len(self.terms) != 1:
            return None
        ((x, m, q, r), factor), *_ = self.terms.items()
        if (x, m, q) != (0, 0, 0) or not np.all(factor):
            return None
        return Polynomial({(0, 0, 0, -r): 1 / factor}, self.epsilon, self.about_mean)

    def normalization(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(g, b) of what is `(x - m) * r * g + b`, or about zero `x * r * g + b`; None for all else."""
        gamma, minus = self.terms.get(_XR), self.terms.get(_MR)
        others = set(self.terms) - {_XR, _MR, ONE}
        if self.about_mean and minus is not None:
            gamma = None if gamma is None or np.any(gamma + minus) else gamma
        elif self.about_mean or minus is not None:
            return None
        if gamma is None or others or self.epsilon is None:
            return None
        return gamma, self.terms.get(ONE, np.zeros(()))

    def _with(self, terms: dict[Powers, np.ndarray], other: Polynomial) -> Polynomial | None:
        known = {(each.epsilon, each.about_mean) for each in (self, other) if each.epsilon is not None}
        terms = {powers: factor for powers, factor in terms.items() if np.any(factor)} or {ONE: np.zeros(())}
        if len(known) > 1 or len(terms) > _MOST_TERMS:
            return None
        return Polynomial(terms, *known.pop()) if known else Polynomial(terms)
