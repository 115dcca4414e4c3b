"""The shape to which two tensors are broadcast."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import INT64, Nodes, replace
from keras_trt.convert.types import Graph, Node


def broadcast_args(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """Each size of the one shape, or that of the other where it is 1; the shorter gets ones in front."""
    lengths = [(ctx.get_shape(shape) or [-1])[0] for shape in node.input]
    if min(lengths) < 0:
        return
    wanted = node.output_dtypes[0]

    def build(add: Nodes) -> str:
        first, second = (
            add(
                "Concat",
                add.const([1] * (max(lengths) - length), np.int64),
                add.cast(shape, INT64),
                axis=0,
                dtype=INT64,
            )
            for shape, length in zip(node.input, lengths, strict=True)
        )
        is_one = add("Equal", first, add.const(1, np.int64))
        return add.cast(add("Where", is_one, second, first, dtype=INT64), wanted)

    replace(ctx, node, name, build)
