"""Which calls of activation quantisers see constants: the exported file holds those as they were rounded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np

from keras_trt._base.tensors import BATCH_AXIS, TensorSpec
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.compare.probes.probe import Feeds
from keras_trt.trace.run import run
from keras_trt.twins.quantizer import observing, rounded
from keras_trt.twins.types import Quantizer

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace

Call = tuple[int, int]
"""A call of a quantiser: the quantiser's identity, and how many calls of it came before."""


def constant_calls(model: Model, traced: Trace, feeds: Feeds) -> frozenset[Call]:
    """The calls whose tensor does not depend on the model's inputs.

    A layer may be called on both: on learned queries at first, on what became of them later.

    Args:
        model: The model that was traced.
        traced: Its trace.
        feeds: Rows to call it on: as they are, and turned round, one fewer where their number is open, so
            that what is repeated for each row is not taken for a constant.
    """
    turned = {info.name: _turned(info, np.asarray(feeds[info.name])) for info in traced.inputs}
    seen, again = (_tensors(model, traced, each) for each in (feeds, turned))
    return frozenset(call for call, x in seen.items() if again.get(call) == x)


def rounding(flavor: Flavor, calls: Collection[Call]) -> Callable[[Quantizer, Tensor], Tensor | None]:
    """An observer for `observing` that rounds in some calls, and lets floats through in the others."""
    count = _Count()
    return lambda quantizer, x: rounded(flavor, quantizer, x) if count(quantizer) in calls else None


def _turned(info: TensorSpec, x: np.ndarray) -> np.ndarray:
    fewer = 1 if info.shape[:1] == (BATCH_AXIS,) and len(x) > 1 else 0
    return np.flip(x)[fewer:]


def _tensors(model: Model, traced: Trace, feeds: Feeds) -> dict[Call, bytes]:
    count, seen = _Count(), {}

    def look(quantizer: Quantizer, x: Tensor) -> None:
        seen[count(quantizer)] = np.asarray(x).tobytes()

    with observing(look):
        run(model, traced, feeds)
    return seen


class _Count:
    """Numbers the calls of each quantiser."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}

    def __call__(self, quantizer: Quantizer) -> Call:
        number = self.calls[id(quantizer)] = self.calls.get(id(quantizer), -1) + 1
        return id(quantizer), number
