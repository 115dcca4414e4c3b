"""A trace as the SavedModel that TF-TRT takes: int8 kernels as Q/DQ with one scale.

With any Q/DQ in the graph TF-TRT works in "explicit precision": it then wants the kernel of each convolution
behind a `QuantizeAndDequantizeV2`, and knows one range for a whole tensor only (TensorFlow 2.17,
`tf2tensorrt/convert/ops/quantization_ops.cc` and `ConvertConv2DHelper`). One scale for a kernel would cost
accuracy, so the scales of the output channels move behind the layer, which changes no number:

    x * (q * s) = (x * q) * s,  q in -127...127 with the one scale 1, s one float for each output channel
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.formats import TOP
from keras_trt._machine.protobuf import LARGEST
from keras_trt.errors import ExportError, InputError
from keras_trt.onnx_passes.quantized.grid import to_grid
from keras_trt.trace.graph_view import node_of
from keras_trt.trace.scopes import layer_of_scope
from keras_trt.trace.trace import Trace

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef

    from keras_trt.quantize.inventory import QuantizedTensor

_CHANNELS_LAST = ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")


def write_saved_model(traced: Trace, tensors: list[QuantizedTensor], folder: Path) -> list[str]:
    """Writes a traced model as a SavedModel with the signature `serving_default`.

    Args:
        traced: The model.
        tensors: What is quantised in it.
        folder: An empty folder.

    Returns:
        Notes on quantised layers whose kernels stay float.

    Raises:
        InputError: The model has other number formats than int8.
        ExportError: The model is too large for one graph.
    """
    import tensorflow as tf

    others = sorted({t.format for t in tensors} - {"int8"})
    if others:
        raise InputError(
            f"TF-TRT knows int8 only. Received: a model quantised to {', '.join(others)}. "
            'Export it with route="onnx".'
        )
    graph_def = traced.whole_graph()
    left = quantize_kernels(graph_def, traced.layers, {t.layer for t in tensors if t.stored})
    if graph_def.ByteSize() > LARGEST:
        raise ExportError(
            f"Model {traced.name!r} is a graph of {graph_def.ByteSize() / 1e9:.1f} GB; TF-TRT takes "
            'one below 2 GB. Export it with route="onnx".'
        )

    def serve(*inputs: object) -> dict[str, Any]:
        outputs = tf.graph_util.import_graph_def(
            graph_def,
            input_map=dict(zip(traced.input_tensors, inputs, strict=True)),
            return_elements=list(traced.output_tensors),
            name="model",
        )
        return {info.name: tensor for info, tensor in zip(traced.outputs, outputs, strict=True)}

    specs = [
        tf.TensorSpec([d if isinstance(d, int) else None for d in info.shape], info.dtype, info.name)
        for info in traced.inputs
    ]
    function = tf.function(serve, autograph=False).get_concrete_function(*specs)
    tf.saved_model.save(tf.Module(), str(folder), signatures=function)
    if not left:
        return []
    return [f"These quantised layers keep float kernels, which TF-TRT runs in float: {', '.join(left)}"]


def quantize_kernels(graph_def: GraphDef, layers: tuple[str, ...], quantized: set[str]) -> list[str]:
    """Puts the int8 kernels of a frozen graph behind Q/DQ, in place.

    Returns:
        The layers of `quantized` for which there was no convolution or product with a constant kernel.
    """
    nodes = {node.name: node for node in graph_def.node}
    done: set[str] = set()
    for node in list(graph_def.node):
        layer = layer_of_scope(node.name, layers)
        if layer not in quantized or not _takes_kernel(node, nodes):
            continue
        _split(graph_def, node, _value(nodes[node.input[1]]), layer)
        done.add(layer)
    used = {node_of(name) for node in graph_def.node for name in node.input}
    read = [node for node in graph_def.node if node.op != "Const" or node.name in used]
    if len(read) < len(graph_def.node):
        copies = [type(node).FromString(node.SerializeToString()) for node in read]
        del graph_def.node[:]
        graph_def.node.extend(copies)
    return sorted(quantized - done)


def _takes_kernel(node: NodeDef, nodes: dict[str, NodeDef]) -> bool:
    if node.op not in _CHANNELS_LAST or nodes.get(node.input[1], node).op != "Const":
        return False
    # Reading an absent attribute would add it.
    given = {key: node.attr[key] for key in ("transpose_b", "adj_y", "data_format") if key in node.attr}
    transposed = any(given[key].b for key in given if key != "data_format")
    return not transposed and not ("data_format" in given and given["data_format"].s.startswith(b"NC"))


def _value(node: NodeDef) -> np.ndarray:
    from tensorflow.python.framework import tensor_util

    return tensor_util.MakeNdarray(node.attr["value"].tensor)


def _split(graph_def: GraphDef, node: NodeDef, kernel: np.ndarray, layer: str) -> None:
    """`node` becomes a product with whole numbers behind Q/DQ, and a multiplication by the scales."""
    # A depthwise kernel is (height, width, in, multiplier); its output channels are in * multiplier.
    depthwise = node.op == "DepthwiseConv2dNative"
    flat = kernel.reshape(*kernel.shape[:2], -1) if depthwise else kernel
    whole, scales = to_grid(flat, flat.ndim - 1, layer)
    name = node.name
    _constant(graph_def, f"{name}/int8", whole.reshape(kernel.shape).astype(np.float32))
    _constant(graph_def, f"{name}/low", np.float32(-TOP["int8"]))
    _constant(graph_def, f"{name}/high", np.float32(TOP["int8"]))
    _constant(graph_def, f"{name}/scales", scales)
    quantize = graph_def.node.add(name=f"{name}/kernel", op="QuantizeAndDequantizeV2")
    quantize.input.extend(f"{name}/{suffix}" for suffix in ("int8", "low", "high"))
    for attribute, value in (("signed_input", True), ("range_given", True), ("narrow_range", False)):
        quantize.attr[attribute].b = value
    quantize.attr["num_bits"].i, quantize.attr["axis"].i = 8, -1
    quantize.attr["round_mode"].s = b"HALF_TO_EVEN"
    quantize.attr["T"].CopyFrom(node.attr["T"])
    product = graph_def.node.add()
    product.CopyFrom(node)
    product.name = f"{name}/product"
    product.input[1] = quantize.name
    node.Clear()
    node.name, node.op = name, "Mul"
    node.input.extend([product.name, f"{name}/scales"])
    node.attr["T"].CopyFrom(product.attr["T"])


def _constant(graph_def: GraphDef, name: str, value: np.ndarray) -> None:
    from tensorflow.python.framework import tensor_util

    value = np.asarray(value)
    node = graph_def.node.add(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tensor_util.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
