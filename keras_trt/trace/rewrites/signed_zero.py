"""Reads the sign of numbers without their bits, which ONNX cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_trt.trace.graph_view import GraphView

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef

_VIEWS = ("Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose")
_SEARCHES = ("ArgMax", "ArgMin")


def drop_signed_zero(graph_def: GraphDef) -> None:
    """Takes out how Keras 3's `argmax` and `argmin` tell -0.0 from 0.0, in place.

    They search `where(x == 0 and signbit(x), -tiny, x)`. In `x` itself the first of tied zeros is found, as
    NumPy does.
    """
    graph = GraphView(graph_def)
    for node in graph_def.node:
        if node.op not in ("SelectV2", "Select") or not _is_tiny(graph.maker(node.input[1])):
            continue
        condition, x = graph.maker(node.input[0]), node.input[2]
        reads_sign = condition.op == "LogicalAnd" and any(
            _signed(graph, graph.maker(side)) == x for side in condition.input
        )
        if reads_sign and _is_only_searched(graph.readers, node):
            _become(node, "Identity", x, T=node.attr["T"].type)


def read_signs(graph_def: GraphDef) -> None:
    """Computes `signbit` of float32 as `x < 0 or 1 / x < 0`, in place: of a zero, 1 / x has its sign."""
    graph = GraphView(graph_def)
    for less in list(graph_def.node):
        x = _signed(graph, less)
        if x is None:
            continue
        dtype = graph.maker(graph.maker(less.input[0]).input[0]).attr["T"].type
        zero, inverse, *halves = (graph_def.node.add(name=f"{less.name}/{i}") for i in range(4))
        zero.op = "Const"
        zero.attr["dtype"].type = zero.attr["value"].tensor.dtype = dtype
        zero.attr["value"].tensor.tensor_shape.SetInParent()
        zero.attr["value"].tensor.float_val.append(0.0)
        _become(inverse, "Reciprocal", x, T=dtype)
        for half, value in zip(halves, (x, inverse.name), strict=True):
            _become(half, "Less", value, zero.name, T=dtype)
        _become(less, "LogicalOr", *(half.name for half in halves))


def _signed(graph: GraphView, less: NodeDef) -> str | None:
    """`x` of a node that is `(bits of x) & sign bit < 0`, as Keras's `signbit` is."""
    if less.op != "Less" or _value(graph.maker(less.input[1])) != 0:
        return None
    masked = graph.maker(less.input[0])
    if masked.op != "BitwiseAnd" or _value(graph.maker(masked.input[1])) != np.iinfo(np.int32).min:
        return None
    bits = graph.maker(masked.input[0])
    return bits.input[0] if bits.op == "Bitcast" and bits.attr["T"].type == 1 else None  # DT_FLOAT


def _is_tiny(node: NodeDef) -> bool:
    value = _value(node)
    return value is not None and value.dtype.kind == "f" and -value == np.finfo(value.dtype).tiny


def _is_only_searched(readers: dict[str, list[NodeDef]], node: NodeDef) -> bool:
    """Whether only the place of the largest or smallest value is asked for."""
    return bool(readers[node.name]) and all(
        reader.op in _SEARCHES or (reader.op in _VIEWS and _is_only_searched(readers, reader))
        for reader in readers[node.name]
    )


def _value(node: NodeDef) -> np.ndarray | None:
    """The number in a scalar constant."""
    from tensorflow import make_ndarray

    if node.op != "Const":
        return None
    array: np.ndarray = make_ndarray(node.attr["value"].tensor)
    return array if array.ndim == 0 else None


def _become(node: NodeDef, op: str, *inputs: str, **types: int) -> None:
    node.op = op
    del node.input[:]
    node.input.extend(inputs)
    node.attr.clear()
    for name, dtype in types.items():
        node.attr[name].type = dtype
