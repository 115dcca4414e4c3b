"""Look-up tables of numbers (IntegerLookup) as comparisons with all keys: ONNX has no tables of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_trt.trace.graph_view import node_of
from keras_trt.trace.weights import make_constant

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef


def inline_tables(graph_def: GraphDef, tables: Mapping[str, object]) -> None:
    """Replaces look-ups by `default + sum((x == keys) * (values - default))`, in place.

    Tables of strings stay: no later step can convert them, whatever their form.

    Args:
        graph_def: A frozen graph.
        tables: The handles of tables, by the name of the placeholder that stands for each.
    """
    import tensorflow as tf

    for node in [node for node in graph_def.node if node.op == "LookupTableFindV2"]:
        key_type, value_type = (tf.as_dtype(node.attr[key].type) for key in ("Tin", "Tout"))
        if node.input[0] not in tables or tf.string in (key_type, value_type):
            continue
        handle = tables[node.input[0]]
        keys, values = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key_type, Tvalues=value_type)
        _compare(graph_def, node, np.asarray(keys), np.asarray(values))
    used = {node_of(name) for node in graph_def.node for name in node.input}
    for node in [node for node in graph_def.node if node.name in tables.keys() - used]:
        graph_def.node.remove(node)


def _compare(graph_def: GraphDef, node: NodeDef, keys: np.ndarray, values: np.ndarray) -> None:
    """Turns a look-up into the last node of the comparison."""
    _, x, default = node.input[:3]
    key_type, value_type = node.attr["Tin"].type, node.attr["Tout"].type

    def add(op: str, *inputs: str, **types: int) -> str:
        made = graph_def.node.add(name=f"{node.name}/{op}", op=op, input=inputs)
        for key, dtype in types.items():
            made.attr[key].type = dtype
        return made.name

    def constant(name: str, value: np.ndarray) -> str:
        made = graph_def.node.add(name=f"{node.name}/{name}")
        make_constant(made, value)
        return made.name

    axis = constant("axis", np.array(-1, np.int32))
    int32 = graph_def.node[-1].attr["dtype"].type
    column = add("ExpandDims", x, axis, T=key_type, Tdim=int32)
    equal = add("Equal", column, constant("keys", keys), T=key_type)
    hits = add("Cast", equal, SrcT=10, DstT=value_type)  # DT_BOOL
    gains = add("Sub", constant("values", values), default, T=value_type)
    gain = add("Mul", hits, gains, T=value_type)
    total = add("Sum", gain, axis, T=value_type, Tidx=int32)
    node.op = "AddV2"
    node.input[:] = [total, default]
    node.attr.clear()
    node.attr["T"].type = value_type
