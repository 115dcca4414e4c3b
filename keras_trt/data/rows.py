"""Rows of batches, counted and taken where the data enters a model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model


def count_rows(flavor: Flavor, batch: object) -> int:
    """How many rows a batch of inputs has: the longest first axis, and 1 where nothing has an axis."""
    return max((int(leaf.shape[0]) for leaf in flavor.ops.nest.flatten(batch) if len(leaf.shape)), default=1)


def can_take(flavor: Flavor, model: Model, batch: object) -> bool:
    """Whether a model runs on some of a batch's rows: all inputs have as many, and the model any number."""
    ops = flavor.ops
    leaves = ops.nest.flatten(batch)
    fixed = any(
        tensor.shape[0] is not None for tensor in ops.nest.flatten(getattr(model, "inputs", None) or [])
    )
    sizes = {int(leaf.shape[0]) for leaf in leaves if len(leaf.shape)}
    return len(sizes) == 1 and not fixed and all(map(ops.is_tensor, leaves))


def take(flavor: Flavor, batch: object, rows: slice) -> Any:
    """Some rows of a batch that `can_take` has let pass."""
    return flavor.ops.nest.map_structure(lambda leaf: leaf[rows] if len(leaf.shape) else leaf, batch)


def first_rows(
    flavor: Flavor, model: Model, batches: Iterable[object], values: int, fewest: int = 8
) -> Iterator[Any]:
    """Batches of as many rows, from the first on, as have so many values together; the last one is cut.

    A batch that no rows can be taken from is taken whole.
    """
    for batch in batches:
        if values <= 0 and fewest <= 0:
            return
        each = sum(math.prod(leaf.shape[1:]) for leaf in flavor.ops.nest.flatten(batch))
        count, wanted = count_rows(flavor, batch), max(values // max(each, 1), fewest)
        cut = wanted < count and can_take(flavor, model, batch)
        yield take(flavor, batch, slice(wanted)) if cut else batch
        values, fewest = values - count * each, fewest - count


class Batches:
    """Batches of inputs as a data set that can be read again; a list of them would be arrays."""

    def __init__(self, inputs: Sequence[object]) -> None:
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._inputs)

    def __iter__(self) -> Iterator[tuple[Any]]:
        return ((x,) for x in self._inputs)


class FirstBatches:
    """The first batches of data that may be read once only, as many as a bounded memory takes.

    Args:
        rows: The most rows of all batches together; the first batch is kept whatever its size.
        size: The most bytes of all batches together.
    """

    def __init__(self, rows: int = 256, size: int = 64 * 2**20) -> None:
        self.batches: list[Any] = []
        self._rows, self._size = rows, size

    def add(self, flavor: Flavor, batch: object) -> bool:
        """Keeps a batch unless it is too much; says whether there may be room for more."""
        self._rows -= count_rows(flavor, batch)
        self._size -= sum(flavor.ops.to_numpy(leaf).nbytes for leaf in flavor.ops.nest.flatten(batch))
        if not self.batches or min(self._rows, self._size) >= 0:
            self.batches.append(batch)
        return min(self._rows, self._size) > 0
