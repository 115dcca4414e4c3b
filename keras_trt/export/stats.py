"""Facts counted on a finished graph: operators, int8 share of the arithmetic, sparsity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from keras_trt.export.passes import _graph as g
from keras_trt.export.passes.naming import layer_of
from keras_trt.export.passes.qdq import WEIGHTED


@dataclass(frozen=True)
class Product:
    """One convolution or matrix product of the graph.

    Attributes:
        node: The node's name.
        layer: The Keras layer's path, or the node's name.
        op_type: The ONNX operator.
        computes: `"int8"` or `"fp8"` when both operands come out of a DequantizeLinear, else `"float"`.
        macs: Multiply-accumulates for one sample; a dynamic axis other than the batch counts as 1.
        zeros: Share of exact zeros in the weight; None when both operands are activations.
        two_of_four: Whether every 4 input channels in a row hold at least 2 zeros.
    """

    node: str
    layer: str
    op_type: str
    computes: str
    macs: int
    zeros: float | None
    two_of_four: bool

    @property
    def int8(self) -> bool:
        """Whether it runs in int8."""
        return self.computes == "int8"


def products(model: ir.Model, layers: Iterable[str]) -> Iterator[Product]:
    """The convolutions and matrix products of a graph with inferred shapes."""
    layers = tuple(layers)
    for node in model.graph.all_nodes():
        if node.op_type in _GATES:
            yield _recurrent(node, layers)
        if node.op_type not in WEIGHTED:
            continue
        weight = _weight(node)
        zeros = None if weight is None else 1 - np.count_nonzero(weight) / max(weight.size, 1)
        yield Product(
            node=node.name or "",
            layer=layer_of(node.name or "", layers) or node.name or node.op_type,
            op_type=node.op_type,
            computes=_computes(node),
            macs=_macs(node, weight),
            zeros=zeros,
            two_of_four=weight is not None and has_two_of_four(weight, _input_axis(node)),
        )


_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _recurrent(node: ir.Node, layers: tuple[str, ...]) -> Product:
    """The products inside a recurrent operator, which computes in float."""
    steps, _, width = [*_sizes(node.inputs[0]), 1, 1][:3]
    units = g.integer(node, "hidden_size", 1)
    return Product(
        node=node.name or "",
        layer=layer_of(node.name or "", layers) or node.name or node.op_type,
        op_type=node.op_type,
        computes="float",
        macs=steps * _GATES[node.op_type] * units * (width + units),
        zeros=None,
        two_of_four=False,
    )


def _computes(node: ir.Node) -> str:
    dequantizers = [g.producer(v, "DequantizeLinear") for v in node.inputs[:2]]
    types = {None if d is None else d.inputs[0].dtype for d in dequantizers}
    names = {ir.DataType.INT8: "int8", ir.DataType.FLOAT8E4M3FN: "fp8"}
    return names.get(types.pop(), "float") if len(types) == 1 else "float"


def op_counts(model: ir.Model) -> dict[str, int]:
    """How often each operator occurs, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.all_nodes()).most_common())


def int8_share(found: Iterable[Product]) -> float:
    """The share of multiply-accumulates that run in int8, 0.0 to 1.0."""
    found = list(found)
    total = sum(p.macs for p in found)
    return sum(p.macs for p in found if p.int8) / total if total else 0.0


def has_two_of_four(weight: np.ndarray, axis: int) -> bool:
    """Whether a weight has NVIDIA's 2:4 pattern along `axis`, and any zeros at all."""
    if weight.shape[axis] % 4 or 2 * np.count_nonzero(weight) > weight.size:
        return False
    groups = np.moveaxis(weight, axis, -1).reshape(-1, 4)
    return bool(((groups == 0).sum(axis=1) >= 2).all())


def _weight(node: ir.Node) -> np.ndarray | None:
    value = node.inputs[1]
    dq = g.producer(value, "DequantizeLinear")
    return g.constant(dq.inputs[0] if dq is not None else value)


def _input_axis(node: ir.Node) -> int:
    """The axis of the input channels in the weight (Polygraphy's table)."""
    if node.op_type == "Gemm":
        return 1 if g.integer(node, "transB", 0) else 0
    return {"Conv": 1, "ConvTranspose": 0, "MatMul": -2}[node.op_type]


def _macs(node: ir.Node, weight: np.ndarray | None) -> int:
    output, x = _sizes(node.outputs[0]), _sizes(node.inputs[0])
    if node.op_type == "Conv" and weight is not None:
        return int(np.prod(output) * np.prod(weight.shape[1:], dtype=np.int64))
    if node.op_type == "ConvTranspose" and weight is not None:
        return int(np.prod(x) * np.prod(weight.shape[1:], dtype=np.int64))
    summed = x[-2] if g.integer(node, "transA", 0) else x[-1] if x else 1
    return int(np.prod(output) * summed)


def _sizes(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        return [1]
    return [d if isinstance(d, int) else 1 for d in value.shape]
