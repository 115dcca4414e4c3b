"""Batches out of everything that Keras's `predict` takes, told apart without TensorFlow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_trt.errors import InputError


@dataclass(frozen=True)
class Batches:
    """A source of batches of `x`.

    Attributes:
        items: Yields `x` of each batch in the user's structure.
        count: How many there are; None when that is unknown.
    """

    items: Iterable[Any]
    count: int | None


def is_dataset(x: Any) -> bool:
    """Whether `x` makes its own batches: a tf.data.Dataset, PyDataset, Sequence, loader or generator."""
    if isinstance(x, list | tuple | Mapping | str) or hasattr(x, "__array__") or hasattr(x, "dtype"):
        return False
    return hasattr(x, "__iter__") or hasattr(x, "__getitem__")


def batches_of(x: Any, steps: int | None) -> Batches:
    """The batches of a data set; each item may be `x`, `(x,)`, `(x, y)` or `(x, y, weights)`.

    Args:
        x: See `is_dataset`.
        steps: Take no more than this many.

    Raises:
        InputError: When iterated: an item of another form.
    """
    if hasattr(x, "as_numpy_iterator"):
        items, count = x.as_numpy_iterator(), _cardinality(x)
    elif hasattr(x, "__getitem__") and not hasattr(x, "__next__"):
        count = _length(x)
        indices = itertools.count() if count is None else range(count)
        items = (x[i] for i in indices)
    else:
        items, count = iter(x), _length(x)
    if steps is not None:
        items, count = itertools.islice(items, steps), steps if count is None else min(steps, count)
    return Batches((_x_of(item) for item in items), count)


def slices(rows: int, size: int, steps: int | None) -> list[slice]:
    """Cuts `rows` into slices of `size`, the last one shorter; no more than `steps`.

    Example:
        >>> slices(5, 2, None)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    cuts = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    return cuts[:steps]


def _x_of(item: Any) -> Any:
    if not isinstance(item, tuple | list):
        return item
    if not 1 <= len(item) <= 3:
        raise InputError(
            "A batch of a data set must be x, (x,), (x, y) or (x, y, sample_weight). "
            f"Received: a {type(item).__name__} of {len(item)}. For a model with several inputs yield (x,) "
            "with x a tuple or dict."
        )
    return item[0]


def _cardinality(dataset: Any) -> int | None:
    count: Callable[[], Any] | None = getattr(dataset, "cardinality", None)
    known = int(count()) if count is not None else -1
    return known if known >= 0 else None  # -1 is infinite, -2 unknown


def _length(x: Any) -> int | None:
    try:
        return len(x)
    except TypeError:
        return getattr(x, "num_batches", None)
