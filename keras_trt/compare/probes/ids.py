"""Which inputs of a traced model are ids, and of how many: they look things up in tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from keras_trt.trace.graph_view import GraphView, node_of

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace

_OTHER_NUMBERS = (
    "GatherV2",
    "Shape",
    "Size",
    "ArgMax",
    "ArgMin",
    "MatMul",
    "BatchMatMulV2",
    "Conv2D",
    "Sum",
    "Mean",
)
"""Operators that make other numbers of ids; those are looked up elsewhere."""


def smallest_table(traced: Trace) -> int | None:
    """The rows of the smallest table that the model looks things up in (embeddings, positions), or None."""
    return min((size for _, size in _tables(traced)), default=None)


def tables_reached(traced: Trace) -> dict[str, int]:
    """By input, the rows of the smallest table that its numbers reach; only those that reach one."""
    graph = GraphView(traced.graph_def)
    names = {node_of(t): info.name for t, info in zip(traced.input_tensors, traced.inputs, strict=True)}
    sizes: dict[str, int] = {}
    for ids, size in (*_tables(traced), *_depths(traced)):
        for node in graph.above([ids], stop=lambda node: node.op in _OTHER_NUMBERS):
            if node in names:
                sizes[names[node]] = min(size, sizes.get(names[node], size))
    return sizes


def _tables(traced: Trace) -> Iterator[tuple[str, int]]:
    """The tensor of ids of every lookup, with the rows of its table, of more than one."""
    sizes = {name: weight.shape[0] for name, weight in traced.weights.items() if weight.ndim > 1}
    for node in traced.graph_def.node:
        dims = node.attr["value"].tensor.tensor_shape.dim  # of a constant; other nodes have none
        if len(dims) > 1:
            sizes[node.name] = dims[0].size
    for node in traced.graph_def.node:
        if node.op == "GatherV2" and sizes.get(node_of(node.input[0]), 0) > 1:
            yield node.input[1], sizes[node_of(node.input[0])]


def _depths(traced: Trace) -> Iterator[tuple[str, int]]:
    """The tensor of ids of every one-hot code, with its length."""
    graph = GraphView(traced.graph_def)
    for node in traced.graph_def.node:
        depth = graph.maker(node.input[1]) if node.op == "OneHot" else None
        if depth is not None and depth.attr["value"].tensor.int_val:
            yield node.input[0], depth.attr["value"].tensor.int_val[0]
