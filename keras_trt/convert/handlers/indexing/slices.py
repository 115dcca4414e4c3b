"""`ops.slice_update`: a slice of a tensor written anew, as a cache of keys and values is."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import BOOL, INT64, Nodes, replace
from keras_trt.convert.handlers.indexing.diagonal import zero


def dynamic_update_slice(ctx: Any, node: Any, name: str, _: list[Any]) -> Any:
    """The update with zeros around it, where it lies, and the tensor elsewhere."""
    x, update, indices = node.input
    dtype, rank = ctx.get_dtype(x), ctx.get_rank(x)

    def build(add: Nodes) -> str:
        room = add("Sub", add("Shape", x), add("Shape", update), dtype=INT64)
        start = add("Max", add.cast(indices, INT64), add.const(0, np.int64), dtype=INT64)
        start = add("Min", start, room, dtype=INT64)  # XLA moves an update that would not fit
        pads = add("Concat", start, add("Sub", room, start, dtype=INT64), axis=0, dtype=INT64)
        inside = add("Expand", add.const(1, np.float32), add("Shape", update))
        mask = add("Pad", inside, pads, add.const(0, np.float32))
        padded = add("Pad", update, pads, zero(add, update), dtype=dtype)
        for value in (mask, padded):
            ctx.set_shape(value, ctx.get_shape(x) or [-1] * rank)
        return add("Where", add("Cast", mask, to=BOOL), padded, x, dtype=dtype)

    replace(ctx, node, name, build)
