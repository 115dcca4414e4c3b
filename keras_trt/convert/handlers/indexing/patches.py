"""`tf.image.extract_patches`; tf2onnx writes a negative size for it when the batch is open."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.handlers.indexing.diagonal import zero
from keras_trt.convert.types import Graph, Node

_LAST = np.iinfo(np.int64).max


def extract_patches(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """Patches side by side are a Reshape; others the strided slices at each place of the patch, joined."""
    kernel, strides, rates = (node.get_attr_value(key)[1:3] for key in ("ksizes", "strides", "rates"))
    shape = ctx.get_shape(node.input[0])
    reach = [(k - 1) * r + 1 for k, r in zip(kernel, rates, strict=True)]
    pads = [(0, 0), (0, 0)]
    if node.get_attr_value("padding") == b"SAME":
        if not shape or any(n < 1 and s > 1 for n, s in zip(shape[1:3], strides, strict=True)):
            return  # how much is padded follows from the size
        pads = [_same(*axis) for axis in zip(shape[1:3], strides, reach, strict=True)]

    def build(add: Nodes) -> str:
        x = node.input[0]
        if not any(map(any, pads)) and strides == kernel == reach and shape and min(shape[1:]) > 0:
            return _tiles(add, x, shape, kernel)
        if any(map(any, pads)):
            ends = [[0, *(axis[side] for axis in pads), 0] for side in (0, 1)]
            x = add("Pad", x, add.const(np.ravel(ends), np.int64), zero(add, x), dtype=ctx.get_dtype(x))
        places = [(i * rates[0], j * rates[1]) for i in range(kernel[0]) for j in range(kernel[1])]
        return add("Concat", *(_strided(add, x, place, reach, strides) for place in places), axis=-1)

    replace(ctx, node, name, build)


def _same(size: int, stride: int, reach: int) -> tuple[int, int]:
    total = max(reach - stride if size % stride == 0 or size < 1 else reach - size % stride, 0)
    return total // 2, total - total // 2


def _tiles(add: Nodes, x: str, shape: list[int], kernel: list[int]) -> str:
    (height, width), channels, dtype = kernel, shape[3], add.ctx.get_dtype(x)
    rows, columns = shape[1] // height, shape[2] // width
    ends = add.const([rows * height, columns * width], np.int64)
    x = add("Slice", x, add.const([0, 0], np.int64), ends, add.const([1, 2], np.int64), dtype=dtype)
    split = add.const([-1, rows, height, columns, width, channels], np.int64)
    moved = add("Transpose", add("Reshape", x, split, dtype=dtype), perm=[0, 1, 3, 2, 4, 5], dtype=dtype)
    return add(
        "Reshape", moved, add.const([-1, rows, columns, height * width * channels], np.int64), dtype=dtype
    )


def _strided(add: Nodes, x: str, place: tuple[int, int], reach: list[int], strides: list[int]) -> str:
    behind = [p - (n - 1) for p, n in zip(place, reach, strict=True)]  # not above 0, counted from the end
    ends = add.const([end or _LAST for end in behind], np.int64)
    starts, axes, steps = (add.const(values, np.int64) for values in (place, [1, 2], strides))
    return add("Slice", x, starts, ends, axes, steps, dtype=add.ctx.get_dtype(x))
