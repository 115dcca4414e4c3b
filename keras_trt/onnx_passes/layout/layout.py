"""Removes Transposes that tf2onnx leaves around reductions and flattening; the graph stays NCHW inside."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")


class RemoveTransposesPass(ir.passes.InPlacePass):
    """Two exact rewrites.

    1. `Transpose -> ReduceMean(axes)` becomes `ReduceMean(permuted axes)`, with a Transpose behind it only
       if the remaining axes are out of order.
    2. `Transpose -> Reshape to (N, -1) [-> Q -> DQ] -> MatMul` becomes the same without the Transpose and
       with the rows of the weight permuted. The weight's channels, its columns, stay as they are.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once."""
        modified = False
        for node in list(model.graph):
            if node.op_type in _REDUCTIONS:
                modified = _reduce(node) or modified
            elif node.op_type == "MatMul":
                modified = _flatten(node) or modified
        return ir.passes.PassResult(model, modified)


def _transpose_before(value: ir.Value | None) -> tuple[ir.Node, list[int]] | None:
    node = g.producer(value, "Transpose")
    perm = g.ints(node, "perm") if node is not None else None
    return None if node is None or perm is None else (node, perm)


def _reduce(node: ir.Node) -> bool:
    before = _transpose_before(node.inputs[0])
    axes = g.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if before is None or axes is None:
        return False
    transpose, perm = before
    n = len(perm)
    moved = sorted(perm[int(a) % n] for a in axes)
    keep = bool(g.integer(node, "keepdims", 1))
    # Axes of the result, as axes of the untransposed input: before the rewrite, and after it.
    old = perm if keep else [p for i, p in enumerate(perm) if i not in {int(a) % n for a in axes}]
    new = list(range(n)) if keep else [i for i in range(n) if i not in moved]
    name, output = node.name, node.outputs[0]
    constant = g.add_constant(node.graph, np.array(moved, np.int64), f"{name}/axes")
    attributes = dict(node.attributes)
    reduced = g.insert(
        node,
        node.op_type,
        [transpose.inputs[0], constant],
        attributes,
        dtype=output.dtype,
        name=f"{name}/nchw",
    )
    order = [new.index(axis) for axis in old]
    if output.shape is not None:
        reduced.shape = ir.Shape([output.shape[order.index(i)] for i in range(len(order))])
    if order != sorted(order):
        reduced = g.insert(
            node, "Transpose", [reduced], {"perm": order}, like=output, name=f"{name}/transpose"
        )
    g.replace(node, reduced)
    _remove_if_unused(transpose)
    return True


def _flatten(node: ir.Node) -> bool:
    weight = g.constant_shape(node.inputs[1])
    reshape, chain = _through_quantizers(node.inputs[0])
    if weight is None or len(weight) != 2 or reshape is None:
        return False
    before = _transpose_before(reshape.inputs[0])
    sizes = _flat_sizes(before[0].outputs[0]) if before is not None else None
    target = g.constant(reshape.inputs[1])
    if before is None or sizes is None or target is None or len(target) != 2 or before[1][0] != 0:
        return False
    if int(np.prod(sizes)) != weight[0] or int(target[1]) not in (-1, weight[0]):
        return False
    if any(g.sole_consumer(v) is None for v in (before[0].outputs[0], reshape.outputs[0], *chain)):
        return False
    transpose, perm = before
    back = np.argsort([p - 1 for p in perm[1:]])
    rows = np.arange(weight[0]).reshape(sizes).transpose(back).reshape(-1)
    g.derive_constant(node, 1, lambda weight: weight[rows], "__nchw")
    reshape.replace_input_with(0, transpose.inputs[0])
    _remove_if_unused(transpose)
    return True


def _through_quantizers(value: ir.Value) -> tuple[ir.Node | None, list[ir.Value]]:
    """The Reshape behind per-tensor Q/DQ pairs, and the tensors in between."""
    chain: list[ir.Value] = []
    while True:
        node = g.producer(value, "QuantizeLinear", "DequantizeLinear", "Reshape")
        if node is None or node.op_type == "Reshape":
            return node, chain
        if g.scalar(node.inputs[1]) is None:
            return None, chain
        chain.append(value)
        value = node.inputs[0]


def _flat_sizes(value: ir.Value) -> list[int] | None:
    """The sizes of all axes but the first, when known."""
    if value.shape is None or any(not isinstance(d, int) for d in value.shape[1:]):
        return None
    return [int(d) for d in value.shape[1:]]


def _remove_if_unused(node: ir.Node) -> None:
    output = node.outputs[0]
    if not output.uses() and not output.is_graph_output():
        node.graph.remove(node, safe=True)
