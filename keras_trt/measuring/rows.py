"""Rows to measure on: the user's, or those that a bundle carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from keras_trt._base.nests import leaves_of, map_nest
from keras_trt._base.tensors import BATCH_AXIS
from keras_trt._machine.memory import installed
from keras_trt.bundle.probe import made_up, read_probe
from keras_trt.data.source import batches_made, is_arrays, unpacked
from keras_trt.errors import InputError
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.feeds import Feeds, batch_of, cast, name_arrays
from keras_trt.runtime.predict import fill

_MADE_UP = 8


@dataclass(frozen=True)
class Rows:
    """Rows of an engine's inputs.

    Attributes:
        feeds: The arrays, by input name, in the inputs' dtypes.
        inputs: The inputs, the batch axis named.
        structure: How the model takes them.
        targets: What belongs to the rows, or None.
        origin: Where they come from, for people.
    """

    feeds: Feeds
    inputs: tuple[Any, ...]
    structure: Any
    targets: Any
    origin: str

    @property
    def count(self) -> int:
        """How many there are."""
        return batch_of(self.feeds, self.inputs)

    def all(self) -> Any:
        """Every row, as the model takes them."""
        return fill(self.structure, self.feeds)

    def check(self, sizes: Sequence[int]) -> None:
        """Tells before any work of a batch that is larger than this machine's memory.

        Raises:
            InputError: There is one.
        """
        row = sum(array.nbytes for array in self.feeds.values()) // self.count
        memory, largest = installed(), max(sizes)
        if memory is not None and largest * row > memory:
            raise InputError(
                f"`batch_sizes` must fit into memory: {largest} rows of {row} bytes are more than the "
                f"{memory / 2**30:.0f} GiB of this machine. Received: {tuple(sizes)}"
            )

    def batch(self, size: int) -> Any:
        """So many rows as the model takes them; from the first on again where there are fewer."""
        places = np.arange(size) % self.count
        taken = {
            spec.name: np.ascontiguousarray(self.feeds[spec.name][places])
            if spec.shape[:1] == (BATCH_AXIS,)
            else self.feeds[spec.name]
            for spec in self.inputs
        }
        return fill(self.structure, taken)


def rows_for(engine: EngineModel, data: object, steps: int | None = None) -> Rows:
    """The rows of some data; without any those of the bundle's probe, or made-up ones.

    Args:
        engine: Whose inputs they are for.
        data: Inputs, or (inputs, targets), as arrays; or what makes its own batches.
        steps: The most batches to take of the latter.

    Raises:
        InputError: Data without rows or that does not fit the inputs.
    """
    manifest = engine.bundle.manifest
    if data is None:
        probe = read_probe(engine.bundle)
        feeds = (probe or made_up(manifest, _MADE_UP)).inputs
        x, y, origin = fill(manifest.input_structure, feeds), None, "the rows that the bundle carries"
        origin = "made-up rows" if probe is None else origin
    elif isinstance(data, tuple) and is_arrays(data):
        (x, y), origin = unpacked(data, len(engine.inputs)), "the data"
    elif is_arrays(data):
        x, y, origin = data, None, "the data"
    else:
        (x, y), origin = _gathered(data, len(engine.inputs), steps), "the data"
    named = name_arrays(
        map_nest(lambda leaf, _: np.asarray(leaf), x), manifest.input_structure, engine.inputs
    )
    rows = Rows(cast(named, engine.inputs), engine.inputs, manifest.input_structure, y, origin)
    if not rows.count:
        raise InputError("`data` holds no row. Received: arrays of 0 rows.")
    return rows


def _gathered(data: object, inputs: int, steps: int | None) -> tuple[Any, Any]:
    """All batches of what makes its own, joined."""
    if isinstance(data, str | bytes) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise InputError(
            "`data` must be arrays, (inputs, targets), a `tf.data.Dataset`, a `PyDataset` or batches. "
            f"Received: {data!r} (of type {type(data).__name__})"
        )
    if steps is None and hasattr(data, "cardinality") and int(data.cardinality()) == -1:
        raise InputError(f"The data must end. Pass `steps`, the most batches to take. Received: {data!r}")
    pairs = [unpacked(item, inputs) for item in islice(_items(data, steps), steps)]
    if not pairs:
        raise InputError("`data` holds no batch. Received: an empty data set.")
    targets = [y for _, y in pairs]
    return _joined([x for x, _ in pairs]), None if targets[0] is None else _joined(targets)


def _items(data: object, steps: int | None) -> Iterator[Any]:
    return iter(batches_made(data, steps).items)


def _joined(batches: Sequence[object]) -> Any:
    """Batches of one structure as one."""
    columns = zip(*(map(np.asarray, leaves_of(batch)) for batch in batches), strict=True)
    joined = iter([np.concatenate(column) for column in columns])
    return map_nest(lambda _, key: next(joined), batches[0])
