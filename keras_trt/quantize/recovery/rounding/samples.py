"""What the layers of a model are given in float, on a few rows of data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from keras_trt._keras.calls.record import replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.data.rows import can_take, count_rows, take
from keras_trt.twins.quantizer import observing

_PIECES = 8
_BYTES = 32 * 2**20  # of a layer's inputs that are held; the first two pieces always


@dataclass(frozen=True)
class Sample:
    """One call of a layer: what it was given, as tensors in a nest, and what it returned in float."""

    given: tuple[Any, Any]
    exact: Any = None


def pieces_of(flavor: Flavor, model: Model, batches: Sequence[Any]) -> Iterator[Any]:
    """Batches cut into pieces of as many rows, about `_PIECES` of them."""
    rows = sum(count_rows(flavor, batch) for batch in batches)
    size = max(2, min(32, -(-rows // _PIECES)))
    for batch in batches:
        count = count_rows(flavor, batch)
        if not can_take(flavor, model, batch):
            yield batch
            continue
        yield from (take(flavor, batch, slice(i, i + size)) for i in range(0, count, size))


def samples_of(
    flavor: Flavor, model: Model, layers: dict[str, Any], pieces: Sequence[object]
) -> dict[str, list[Sample]]:
    """What layers are given in float, call by call; none for those that a graph of the user's own calls."""
    held = defaultdict[str, list[Sample]](list)
    sizes = defaultdict[str, int](int)
    ops = flavor.ops

    def listening(path: str, call: Any) -> Any:
        def listen(*args: object, **options: object) -> Any:
            tensors = [x for x in ops.nest.flatten((args, options)) if ops.is_tensor(x)]
            if path in layers and ops.is_eager(*tensors) and (sizes[path] < _BYTES or len(held[path]) < 2):
                sizes[path] += sum(ops.to_numpy(x).nbytes for x in tensors)
                held[path].append(Sample((args, options)))
            return call(*args, **options)

        return listen

    in_float = observing(lambda quantizer, x: None, lambda layer, w, on_grid: w, corrected=False)
    with in_float, replaced_calls(flavor, model, listening):
        for piece in pieces:
            model(piece, training=False)
    return held
