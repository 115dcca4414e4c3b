"""Scattering into zeros, where TensorFlow adds up what falls on one place and ONNX keeps one of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, INT64, Nodes, replace
from keras_trt.convert.tf2onnx_seam import stock
from keras_trt.convert.types import Graph, Node

_LIMIT = 1 << 20  # entries of the matrix that says what falls where


def scatter_nd(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`ScatterNd`: plain where no place is named twice, else a matrix product or a ScatterND that adds.

    TensorRT does not scatter with a sum, so where the sizes are known and small the places are compared with
    every index, as in `counting`.
    """
    is_unique = _is_unique(node.inputs[0])
    sizes, given = _sizes(node.inputs[2]), ctx.get_shape(node.input[0])
    if not is_unique and sizes and given and min(given) > 0 and ctx.get_dtype(node.input[1]) == FLOAT:
        depth, count = given[-1], int(np.prod(given[:-1]))
        if int(np.prod(sizes[:depth])) * count <= _LIMIT:
            return _as_product(ctx, node, name, sizes, depth, count)
    node.type = "ScatterND"
    stock("ScatterND", ctx, node)
    if not is_unique:
        node.set_attr("reduction", "add")
    return node


def _is_unique(indices: Any) -> bool:
    if not indices.is_const():
        return False
    places = indices.get_tensor_value(as_list=False)
    places = places.reshape(-1, places.shape[-1])
    return len(np.unique(places, axis=0)) == len(places)


def _sizes(shape: Any) -> list[int] | None:
    return (
        [int(size) for size in np.ravel(shape.get_tensor_value(as_list=False))] if shape.is_const() else None
    )


def _as_product(ctx: Graph, node: Node, name: str, sizes: list[int], depth: int, count: int) -> Node | None:
    """A matrix of zeros and ones, (places, entries), by the entries."""
    indices, updates = node.input[:2]
    places = int(np.prod(sizes[:depth]))
    strides = [int(np.prod(sizes[i + 1 : depth])) for i in range(depth)]

    def build(add: Nodes) -> str:
        rows = add("Reshape", add.cast(indices, INT64), add.const([count, depth], np.int64))
        weighted = add("Mul", rows, add.const(strides, np.int64), dtype=INT64)
        flat = add("ReduceSum", weighted, add.const([1], np.int64), keepdims=0, dtype=INT64)
        hits = add("Equal", add.const(np.arange(places).reshape(-1, 1), np.int64), flat)
        entries = add("Reshape", updates, add.const([count, -1], np.int64))
        total = add("MatMul", add("Cast", hits, to=FLOAT), entries)
        return add("Reshape", total, add.const(sizes, np.int64))

    return replace(ctx, node, name, build)
