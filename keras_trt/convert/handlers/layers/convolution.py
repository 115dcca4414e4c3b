"""Grouped 3D convolutions."""

from __future__ import annotations

from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def convolution_3d(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """The converter's own conversion, and the number of groups, which it reads for 1D and 2D only."""
    axis = 1 if node.attr["data_format"].s == b"NCDHW" else -1
    channels, each = ctx.get_shape(node.input[0])[axis], ctx.get_shape(node.input[1])[-2]
    stock("Conv", ctx, node)
    if channels > 0 and each > 0:
        node.set_attr("group", channels // each)
    return node
