"""What counts as a share of zeros: a number of Python's or numpy's, no boolean and no text."""

from __future__ import annotations

from typing import Any

from keras_trt._base.arguments import is_number
from keras_trt.errors import InputError


def is_fraction(value: Any) -> bool:
    """Whether `value` is a number in [0, 1)."""
    return is_number(value) and 0 <= value < 1


def check_sparsity(sparsity: object) -> None:
    """Refuses what is no share of zeros."""
    if not is_fraction(sparsity):
        raise InputError(f"`sparsity` is a fraction in [0, 1). Received: sparsity={sparsity!r}")
