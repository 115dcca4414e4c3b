"""`tf.gather` whose `batch_dims` or `axis` is counted from the last."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def gather(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """tf2onnx's own conversion, which counts both from the first where there are batch axes."""
    batch_axes, axis = node.get_attr_value("batch_dims", 0), node.inputs[2]
    if batch_axes < 0:
        batch_axes += ctx.get_rank(node.input[1])
        node.set_attr("batch_dims", batch_axes)
    if batch_axes and axis.is_const() and axis.get_tensor_value() < 0:
        first = axis.get_tensor_value() + ctx.get_rank(node.input[0])
        ctx.replace_input(node, node.input[2], Nodes(ctx, name).const(first, np.int32), 2)
    stock("GatherV2", ctx, node)
