"""The one reader of what Keras users call data, told apart without TensorFlow.

Data is arrays, in the structure of the inputs, or makes its own batches: a `tf.data.Dataset`, a `PyDataset`
or `Sequence`, a loader, a generator. Calibration, comparison and prediction read it through here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keras_trt._base.nests import leaves_of
from keras_trt.errors import InputError


@dataclass(frozen=True)
class Source:
    """Batches as the data makes them.

    Attributes:
        items: Yields each batch: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`.
        count: How many there are; None when that is unknown.
    """

    items: Iterable[Any]
    count: int | None


def is_arrays(data: object) -> bool:
    """Whether data is arrays with all rows, which can be read again."""
    arrays = list(leaves_of(data))
    return bool(arrays) and all(hasattr(a, "shape") and hasattr(a, "dtype") for a in arrays)


def is_dataset(data: object) -> bool:
    """Whether data makes its own batches."""
    if isinstance(data, list | tuple | Mapping | str) or hasattr(data, "__array__") or hasattr(data, "dtype"):
        return False
    return hasattr(data, "__iter__") or hasattr(data, "__getitem__")


def batches_made(data: Any, steps: int | None = None) -> Source:
    """The batches of what makes its own, or of a list of batches.

    Args:
        data: See `is_dataset`.
        steps: Take no more than this many.
    """
    if _is_indexed(data):
        count = _length(data)
        items: Iterator[Any] = (data[i] for i in (itertools.count() if count is None else range(count)))
    else:
        items, count = iter(data), _cardinality(data) if hasattr(data, "cardinality") else _length(data)
    if steps is None:
        return Source(items, count)
    return Source(itertools.islice(items, steps), steps if count is None else min(steps, count))


def slices_of(data: object, size: int, steps: int | None = None) -> Source:
    """Arrays cut along their first axis, the last slice shorter; lists for lists and tuples.

    Args:
        data: See `is_arrays`.
        size: Rows at a time.
        steps: Take no more than this many slices.
    """
    cuts = slices(len(next(leaves_of(data))), size, steps)
    return Source((_cut(data, rows) for rows in cuts), len(cuts))


def slices(rows: int, size: int, steps: int | None) -> list[slice]:
    """Cuts `rows` into slices of `size`, the last one shorter; no more than `steps`.

    Example:
        >>> slices(5, 2, None)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    cuts = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    return cuts[:steps]


def unpacked(item: object, inputs: int = 1) -> tuple[Any, Any]:
    """(x, y) of a batch, by the rule of Keras's `fit` and `predict`; y is None where there is none.

    Args:
        item: `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`; a list counts as a tuple.
        inputs: How many inputs the model takes: a list of so many, of more than one, is `x`.

    Raises:
        InputError: A tuple of another length.
    """
    if not isinstance(item, tuple | list) or (isinstance(item, list) and len(item) == inputs > 1):
        return item, None
    if not 1 <= len(item) <= 3:
        raise InputError(
            "A batch of a data set must be x, (x,), (x, y) or (x, y, sample_weight). "
            f"Received: a {type(item).__name__} of {len(item)}. For a model with several inputs yield (x,) "
            "with x a tuple or dict."
        )
    return item[0], item[1] if len(item) > 1 else None


def is_inputs(data: object, inputs: int) -> bool:
    """Whether a tuple of arrays can only be a model's inputs, and not (inputs, targets).

    Args:
        data: What the user gave.
        inputs: How many inputs the model takes; one array is not all of several.
    """
    return (
        isinstance(data, tuple)
        and len(data) == inputs > 1
        and is_arrays(data)
        and not isinstance(data[0], list | tuple | Mapping)
    )


def _is_indexed(data: object) -> bool:
    """Whether batches are read by their index, as of a `PyDataset` or a `Sequence`."""
    if isinstance(data, list | tuple) or hasattr(data, "as_numpy_iterator"):
        return False
    return hasattr(data, "__getitem__") and not hasattr(data, "__next__")


def _cut(data: Any, rows: slice) -> Any:
    if isinstance(data, Mapping):
        return {name: _cut(value, rows) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [_cut(value, rows) for value in data]
    return data[rows]


def _cardinality(dataset: Any) -> int | None:
    count: Callable[[], Any] = dataset.cardinality
    known = int(count())
    return known if known >= 0 else None  # -1 is infinite, -2 unknown


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return getattr(data, "num_batches", None)
