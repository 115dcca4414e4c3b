"""Writes the nodes that stand for one TensorFlow op, with readable names, into tf2onnx's graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from keras_trt.convert.types import Graph, Node

FLOAT, INT32, INT64, BOOL, FLOAT16 = 1, 6, 7, 9, 10  # onnx.TensorProto


class Nodes:
    """Adds nodes named after the op they stand for."""

    def __init__(self, ctx: Graph, name: str) -> None:
        self.ctx = ctx
        self.name = name
        self._made = 0

    def __call__(self, op: str, *inputs: str, dtype: int | None = None, **attributes: object) -> str:
        """Adds one node; returns its output. `dtype` is set where tf2onnx does not infer it."""
        self._made += 1
        options = {} if dtype is None else {"dtypes": [dtype]}
        node = self.ctx.make_node(
            op, list(inputs), attr=attributes, name=f"{self.name}/{op}_{self._made}", **options
        )
        return node.output[0]

    def const(self, array: object, dtype: npt.DTypeLike | None = None) -> str:
        """Adds a constant; returns its output."""
        self._made += 1
        return self.ctx.make_const(f"{self.name}/const_{self._made}", np.asarray(array, dtype)).output[0]

    def cast(self, value: str, dtype: int) -> str:
        """The value as another type, if it has another."""
        return value if self.ctx.get_dtype(value) == dtype else self("Cast", value, dtype=dtype, to=dtype)


def replace(ctx: Graph, node: Node, name: str, build: Callable[[Nodes], str]) -> Node:
    """Puts what `build` makes in the place of a node with one output."""
    shapes, dtypes, (output,) = node.output_shapes, node.output_dtypes, node.output
    ctx.remove_node(node.name)
    return ctx.make_node(
        "Identity", [build(Nodes(ctx, name))], name=name, outputs=[output], shapes=shapes, dtypes=dtypes
    )
