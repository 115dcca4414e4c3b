"""Convolutions with nothing but zeros, as tensors of zeros."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of


class ZeroConvolutionsPass(ir.passes.InPlacePass):
    """Replaces a convolution without bias whose kernel is all zeros, but for those of quantised layers.

    tf_keras makes the first state of ConvLSTM layers with one, which TensorRT-RTX 1.7 cannot put before a
    loop over one axis. A layer may have such a kernel too, by its initializer or behind a normalisation that
    starts at zero; a quantised one stays what it is.

    Args:
        layers: The paths of all layers, to tell which layer a node belongs to.
        quantized: The paths of layers with quantised weights. None: those that read quantised activations.
    """

    def __init__(self, layers: Iterable[str] = (), quantized: Collection[str] | None = None) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.quantized = quantized

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in list(model.graph):
            if node.op_type == "Conv" and not self._is_quantized(node):
                modified = _zeros(node) or modified
        return ir.passes.PassResult(model, modified)

    def _is_quantized(self, node: ir.Node) -> bool:
        if self.quantized is None:
            return g.producer(node.inputs[0], "DequantizeLinear") is not None
        return layer_of(node.name or "", self.layers) in self.quantized


def _zeros(node: ir.Node) -> bool:
    shape = node.outputs[0].shape
    if len(node.inputs) > 2 or shape is None:
        return False
    kernel = g.constant(node.inputs[1])
    if kernel is None or kernel.any():
        return False
    sizes = list(shape)[1:]
    if not all(isinstance(size, int) for size in sizes) or node.outputs[0].is_graph_output():
        return False
    graph, name = node.graph, f"{node.name}/zeros"
    rest = g.add_constant(graph, np.array(sizes, np.int64), f"{name}/sizes")
    zero = g.add_constant(graph, np.zeros((), kernel.dtype), f"{name}/zero")
    batch = g.insert(
        node, "Shape", [node.inputs[0]], {"end": 1}, dtype=ir.DataType.INT64, name=f"{name}/batch"
    )
    target = g.insert(
        node, "Concat", [batch, rest], {"axis": 0}, dtype=ir.DataType.INT64, name=f"{name}/shape"
    )
    g.replace(node, g.insert(node, "Expand", [zero, target], like=node.outputs[0], name=name))
    return True
