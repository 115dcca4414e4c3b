"""Grouped 3D convolutions."""

from __future__ import annotations

from typing import Any


def convolution_3d(ctx: Any, node: Any, name: str, _: list[Any]) -> Any:
    """The converter's own conversion, and the number of groups, which it reads for 1D and 2D only."""
    from tf2onnx.onnx_opset.nn import ConvOp

    axis = 1 if node.attr["data_format"].s == b"NCDHW" else -1
    channels, each = ctx.get_shape(node.input[0])[axis], ctx.get_shape(node.input[1])[-2]
    ConvOp.any_version(ctx.opset, ctx, node)
    if channels > 0 and each > 0:
        node.set_attr("group", channels // each)
    return node
