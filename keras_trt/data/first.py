"""The first batches of data, read before all of it is."""

from __future__ import annotations

import itertools
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.data.batches import batches
from keras_trt.data.rows import FirstBatches


def read_first(flavor: Flavor, model: Model, data: Any, *, name: str = "data") -> tuple[list[Any], object]:
    """Some batches of inputs, and data that begins with them.

    Args:
        flavor: The model's Keras.
        model: Its inputs' shapes are checked.
        data: As for `batches`; of an iterator, which is read once only, no more is read than is returned.
        name: The argument that the user has given.

    Returns:
        The first batches, up to `FirstBatches`'s limits, and the data to read from the beginning.
    """
    first, read = FirstBatches(), list[Any]()
    once = hasattr(data, "__next__")

    def remembered() -> Any:
        for item in data:
            read.append(item)
            yield item

    for batch in batches(flavor, model, remembered() if once else data, name=name):
        if not first.add(flavor, batch):
            break
    return first.batches, itertools.chain(read, data) if once else data
