"""Small helpers to read and rewrite a graph, shared by the passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from keras_trt._base.names import free
from keras_trt.errors import ExportError

T = TypeVar("T")
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
RECURRENT = ("LSTM", "GRU", "RNN")
HOLDERS = "keras_trt.holders"
"""The key under which a kernel remembers the paths of the layers that hold its variables."""


def given(value: T | None) -> T:
    """What a pass has looked for before, where types cannot tell that it is there."""
    if value is None:
        raise ExportError("A pass met a graph that it was not made for. This is a fault of keras_trt.")
    return value


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array of an initializer or `Constant` node, else None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant of one element, else None."""
    array = constant(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def add_constant(graph: ir.Graph, array: np.ndarray, name: str) -> ir.Value:
    """A new initializer; its name gets a suffix when it is taken."""
    candidate = free(name, graph.initializers)
    tensor = ir.tensor(np.asarray(array, order="C"), name=candidate)  # keeps scalars scalar
    value = ir.val(candidate, const_value=tensor)
    graph.register_initializer(value)
    return value


def derive_constant(
    node: ir.Node,
    index: int,
    change: Callable[[np.ndarray], np.ndarray],
    suffix: str,
    shape: Iterable[int] | None = None,
) -> None:
    """Replaces an initializer that the node reads by one of the same type, computed from it.

    It has the same shape where no other is given. The new values are computed whenever they are read, and
    not kept: weights are the bulk of a model.
    """
    old = given(node.inputs[index])
    source = given(old.const_value)
    sizes = list(source.shape if shape is None else shape)
    new = add_constant(given(node.graph), np.zeros(0), f"{old.name}{suffix}")
    new.const_value = ir.LazyTensor(
        lambda: ir.tensor(change(source.numpy())),
        dtype=source.dtype,
        shape=ir.Shape(sizes),
        name=new.name,
    )
    new.shape, new.type = ir.Shape(sizes), ir.TensorType(source.dtype)
    node.replace_input_with(index, new)
    if not old.uses() and not old.is_graph_output():
        del node.graph.initializers[old.name or ""]


def constant_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of an initializer or of a `Constant` node's output, else None."""
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return None if tensor is None else tuple(tensor.shape.numpy())


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The only node that uses `value`, when nothing else does (the graph's outputs included)."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    return uses[0].node


def only_used_by(value: ir.Value, node: ir.Node) -> bool:
    """Whether `node` is the only user of `value`, and uses it once."""
    return sole_consumer(value) is node


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes `value`, when it is of one of `op_types` (any, when none is given)."""
    node = None if value is None else value.producer()
    return node if node is not None and (not op_types or node.op_type in op_types) else None


def ints(node: ir.Node, name: str, default: Iterable[int] | None = None) -> list[int] | None:
    """An attribute of whole numbers."""
    attr = node.attributes.get(name)
    if attr is None:
        return None if default is None else list(default)
    return list(attr.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    """A whole-number attribute."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_int()


def insert(
    anchor: ir.Node,
    op_type: str,
    inputs: list[ir.Value | None],
    attributes: dict[str, Any] | None = None,
    *,
    like: ir.Value | None = None,
    dtype: ir.DataType | None = None,
    name: str,
) -> ir.Value:
    """Puts a new one-output node before `anchor` and returns its output.

    Args:
        anchor: The node that shall follow it.
        op_type: The ONNX operator.
        inputs: Its inputs.
        attributes: Its attributes.
        like: A tensor of the same shape and element type, when there is one.
        dtype: The element type, when it is not that of `like`.
        name: The node's name; the output is called the same.
    """
    node = ir.node(op_type, inputs, attributes or {}, name=name)
    output = node.outputs[0]
    output.name = f"{name}:0"
    if like is not None:  # copies: shapes and types can be changed in place
        output.shape = None if like.shape is None else ir.Shape(like.shape)
        dtype = dtype or like.dtype
    if dtype is not None:
        output.type = ir.TensorType(dtype)
    given(anchor.graph).insert_before(anchor, node)
    return output


def replace(node: ir.Node, value: ir.Value) -> None:
    """Makes every user of the node's output use `value` instead; the node is removed.

    When the output is one of the graph's, `value` takes over its name and place.
    """
    graph, old = given(node.graph), node.outputs[0]
    if old.is_graph_output():
        name, shape, type_ = old.name, old.shape, old.type
        old.name = f"{name}__old"
        value.name, value.shape, value.type = name, shape, type_
        graph.outputs[:] = [value if output is old else output for output in graph.outputs]
    ir.convenience.replace_all_uses_with(old, value)
    graph.remove(node, safe=True)


def can_take_output(value: ir.Value) -> bool:
    """Whether `value` may become a graph output under another name."""
    return not (value.is_graph_input() or value.is_graph_output() or value.is_initializer())


def rank(value: ir.Value | None) -> int | None:
    """The number of axes, when known."""
    if value is None or value.shape is None:
        return None
    return value.shape.rank()
