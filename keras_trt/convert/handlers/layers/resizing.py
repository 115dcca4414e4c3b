"""Resizing of images. Kernels that ONNX or its runners lack become matrices, for rows and for columns.

Every such resizing is linear and separable, so TensorFlow itself says what the matrices are: it resizes the
unit vectors. That holds for bicubic (runners disagree at the borders), area, Lanczos, Gaussian and
Mitchell-Netravali kernels, with and without antialiasing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, Nodes, replace
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node


def resize_linear(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """As tf2onnx does it, with scales that give the wanted size in spite of float32's rounding."""
    (output,), shape = node.output, _fixed_shape(ctx, node)
    sizes = node.inputs[1].get_tensor_value() if shape else None
    stock("Resize", ctx, node)
    if shape and sizes:
        resized = ctx.get_node_by_output(output).inputs[0]
        scales = [1.0, 1.0, *(_scale(old, new) for old, new in zip(shape[1:3], sizes, strict=True))]
        ctx.replace_input(resized, resized.input[2], Nodes(ctx, name).const(scales, np.float32), 2)


def resize_nearest(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """As `resize_linear` for whole factors; else the rows and columns that TensorFlow takes are picked.

    Half of a pixel may lie exactly between two others, and runners do not agree on which is nearer.
    """
    shape = _fixed_shape(ctx, node)
    sizes = node.inputs[1].get_tensor_value() if shape else None
    if not shape or not sizes or all(new % old == 0 for old, new in zip(shape[1:3], sizes, strict=True)):
        resize_linear(ctx, node, name, [])
        return
    x = node.input[0]
    lines = [np.arange(size, dtype=np.float32).reshape(-1, 1, 1) for size in shape[1:3]]
    rows, columns = (np.ravel(picked).astype(np.int64) for picked in _resized(node, lines))

    def build(add: Nodes) -> str:
        return add("Gather", add("Gather", x, add.const(rows), axis=1), add.const(columns), axis=2)

    replace(ctx, node, name, build)


def _fixed_shape(ctx: Graph, node: Node) -> list[int] | None:
    """The shape of an image whose height, width and channels are known, if all else is constant, too."""
    shape = ctx.get_shape(node.input[0])
    known = shape is not None and min(shape[1:]) > 0 and all(value.is_const() for value in node.inputs[1:])
    return shape if known else None


def _scale(old: int, new: int) -> np.float32:
    """The least float32 not below `new / old`: the size, rounded down, is then `new`."""
    scale = np.float32(new / old)
    return scale if old * float(scale) >= new else np.nextafter(scale, np.float32(np.inf))


def resize(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """Two matrix products; needs a fixed height and width on both sides."""
    x, shape = node.input[0], _fixed_shape(ctx, node)
    if shape is None:
        return
    height, width, channels = shape[1:]
    # One channel for each unit vector; the other axis has one entry, which no kernel changes.
    lines = _resized(node, [np.eye(size, dtype=np.float32)[:, None] for size in (height, width)])
    rows, columns = (line.reshape(-1, size) for line, size in zip(lines, (height, width), strict=True))

    def build(add: Nodes) -> str:
        flat = add("Reshape", add.cast(x, FLOAT), add.const([-1, height, width * channels], np.int64))
        tall = add("MatMul", add.const(rows), flat)
        image = add("Reshape", tall, add.const([-1, len(rows), width, channels], np.int64))
        return add("MatMul", add.const(columns), image)

    replace(ctx, node, name, build)


def _resized(node: Node, lines: list[np.ndarray]) -> list[np.ndarray]:
    """A column and a row of pixels, (size, 1, channels) each, as the node resizes images of that form."""
    import tensorflow as tf

    with tf.device("/cpu:0"), tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run([_operation(node)(line, axis) for axis, line in enumerate(lines)])


def _operation(node: Node) -> Callable[[np.ndarray, int], Any]:
    """What resizes (size, 1, channels) along one axis of an image, as the node does."""
    import tensorflow as tf

    sizes = node.inputs[1].get_tensor_value(as_list=False)

    def of_node(line: np.ndarray, axis: int) -> Any:
        size = np.where(np.arange(2) == axis, sizes, 1).astype(np.int32)
        images = np.moveaxis(line, 0, axis)[None]
        if node.type != "ScaleAndTranslate":
            flags = {key: bool(node.get_attr_value(key)) for key in ("align_corners", "half_pixel_centers")
                     if key in node.attr}  # fmt: skip
            return getattr(tf.raw_ops, node.type)(images=images, size=size, **flags)
        scale, translation = (node.inputs[i].get_tensor_value(as_list=False) for i in (2, 3))
        return tf.raw_ops.ScaleAndTranslate(
            images=images,
            size=size,
            scale=np.where(np.arange(2) == axis, scale, 1).astype(np.float32),
            translation=np.where(np.arange(2) == axis, translation, 0).astype(np.float32),
            kernel_type=node.get_attr_str("kernel_type"),
            antialias=bool(node.get_attr_value("antialias")),
        )

    return of_node
