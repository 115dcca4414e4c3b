"""Products that TensorFlow computes with sparse kernels (LocallyConnected layers); dense in TensorRT."""

from __future__ import annotations

import numpy as np

from keras_trt.convert.handlers._nodes import Nodes, replace
from keras_trt.convert.types import Graph, Node


def sparse_product(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`SparseMatMul`: a matrix product of dense tensors, of which one is expected to hold many zeros."""
    inputs = list(node.input)
    transposed = [node.get_attr_value(key) for key in ("transpose_a", "transpose_b")]

    def build(add: Nodes) -> str:
        sides = [
            add("Transpose", x, perm=[1, 0]) if swap else x
            for x, swap in zip(inputs, transposed, strict=True)
        ]
        return add("MatMul", *sides)

    return replace(ctx, node, name, build)


def sparse_dense_product(ctx: Graph, node: Node, name: str, _: list[object]) -> None:
    """A constant sparse matrix by a dense one."""
    indices, values, shape, dense = node.inputs[0], node.inputs[1], node.inputs[2], node.input[3]
    if not all(tensor.is_const() for tensor in (indices, values, shape)):
        return
    kernel = np.zeros(shape.get_tensor_value(), np.float32)
    kernel[tuple(indices.get_tensor_value(as_list=False).T)] = values.get_tensor_value(as_list=False)
    if node.get_attr_value("adjoint_a"):
        kernel = kernel.T
    swap = node.get_attr_value("adjoint_b")

    def build(add: Nodes) -> str:
        right = add("Transpose", dense, perm=[1, 0]) if swap else dense
        return add("MatMul", add.const(kernel), right)

    replace(ctx, node, name, build)
