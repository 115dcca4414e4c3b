"""Element types by name."""

from __future__ import annotations

import numpy as np


def dtype_of(name: str) -> np.dtype:
    """The numpy dtype of an element type's name, those of `ml_dtypes` included.

    Example:
        >>> dtype_of("float32")
        dtype('float32')
    """
    try:
        return np.dtype(name)
    except TypeError:  # numpy has no bfloat16 or float8 of its own
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
