"""`where(condition, a, b)` of floats; tf2onnx writes `condition * a + (1 - condition) * b` to save time."""

from __future__ import annotations

from keras_trt.convert.handlers._nodes import FLOAT
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def select(ctx: Graph, node: Node, _: str, __: list[object]) -> None:
    """Where: a value that is not chosen does not count, be it NaN or infinite."""
    if ctx.get_dtype(node.output[0]) == FLOAT:
        node.set_attr("handles_nan", True)  # tf2onnx's own mark
    stock("Select", ctx, node)
