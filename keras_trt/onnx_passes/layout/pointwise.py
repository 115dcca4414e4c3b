"""Products of an image's channels with a matrix, which are convolutions of size one in NCHW."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

_IMAGES = (4, 5)
"""The ranks of images and volumes; of sequences TensorRT would make images first."""


def product_can_be_moved(node: ir.Node, order: Sequence[int]) -> bool:
    """Whether a node multiplies the last axis by a matrix, and can do so in this order of axes.

    It can where the channels stay last, and, as a convolution, where they become the second axis.
    """
    rank = len(order)
    if node.op_type != "MatMul" or (matrix := g.constant_shape(node.inputs[1])) is None or len(matrix) != 2:
        return False
    if g.rank(node.inputs[0]) != rank or g.rank(node.outputs[0]) != rank:
        return False
    return order[-1] == rank - 1 or (order[-1] == 1 and rank in _IMAGES)


def move_product(node: ir.Node, order: Sequence[int]) -> None:
    """Writes a product whose channels become the second axis as a convolution of size one."""
    rank = len(order)
    if order[-1] == rank - 1:
        return
    inputs, outputs = g.given(g.constant_shape(node.inputs[1]))
    ones = (1,) * (rank - 2)
    kernel = (outputs, inputs, *ones)
    g.derive_constant(node, 1, lambda matrix: matrix.T.reshape(kernel), "/kernel", kernel)
    node.op_type = "Conv"
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", ones)
