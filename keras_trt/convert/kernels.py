"""Puts the weights into a converted graph, which knew them by their shapes only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from keras_trt.onnx_passes import _graph as g


def put_weights(
    model: ir.Model, weights: Mapping[str, np.ndarray], holders: Mapping[str, Iterable[str]] | None = None
) -> None:
    """Makes initializers of the inputs that stand for weights, and computes what depends on weights alone.

    That is what the converter puts before a kernel to change its layout. NumPy changes most layouts without
    copying, so the arrays in the graph share their memory with those given.

    Args:
        model: Changed in place.
        weights: By the name of the input.
        holders: The paths of the layers that hold each weight's variables, likewise.
    """
    graph = model.graph
    known: set[ir.Value] = set()
    for value in [v for v in graph.inputs if v.name in weights]:
        graph.inputs.remove(value)
        value.meta[g.HOLDERS] = tuple((holders or {}).get(value.name or "", ()))
        known.add(_initializer(graph, value, weights[value.name or ""]))
    for node in list(graph):
        arrays = [g.constant(value) for value in node.inputs]
        given = all(v is None or a is not None for v, a in zip(node.inputs, arrays, strict=True))
        if not given or not known.intersection(node.inputs) or not _is_plain(node):
            continue
        old, array = node.outputs[0], _computed(node, arrays, model.opset_imports[""])
        name = old.name
        old.name = f"{name}__old"
        value = _initializer(graph, ir.val(name), array)
        sources = (v for v in node.inputs if v in known)
        value.meta[g.HOLDERS] = tuple({path: None for v in sources for path in v.meta[g.HOLDERS]})
        ir.convenience.replace_all_uses_with(old, value)
        graph.remove(node, safe=True)
        known.add(value)
    for value in known:
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[value.name or ""]


def _is_plain(node: ir.Node) -> bool:
    """Whether a node makes one tensor that is not the graph's output, and quantises nothing."""
    output = node.outputs[0]
    quantizes = node.op_type in ("QuantizeLinear", "DequantizeLinear")
    return not (node.domain or quantizes or len(node.outputs) > 1 or output.is_graph_output())


def _computed(node: ir.Node, arrays: list[np.ndarray | None], opset: int) -> np.ndarray:
    proto = ir.serde.serialize_node(node)
    evaluator = ReferenceEvaluator(proto, opsets={"": opset})
    feeds = {v.name: a for v, a in zip(node.inputs, arrays, strict=True) if v is not None}
    return evaluator.run(None, feeds)[0]


def _initializer(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> ir.Value:
    value.const_value = ir.tensor(array, name=value.name)
    value.shape = ir.Shape(array.shape)
    value.type = ir.TensorType(value.const_value.dtype)
    graph.register_initializer(value)
    return value
