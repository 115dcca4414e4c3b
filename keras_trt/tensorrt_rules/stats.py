"""Facts counted on a finished graph: operators, int8 share of the arithmetic, sparsity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.onnx_passes.weight_axes import WEIGHTED, input_axis


@dataclass(frozen=True)
class Product:
    """One operator of the graph that multiplies and adds: a convolution, a product, a recurrent layer.

    Attributes:
        node: The node's name.
        layer: The Keras layer's path, or the node's name.
        op_type: The ONNX operator.
        computes: `"int8"` or `"fp8"` when both operands come out of a DequantizeLinear, else `"float"`.
        macs: Multiply-accumulates for one sample, all rounds of a loop together; a dynamic axis counts as 1.
        zeros: Share of exact zeros in the weights; None when both operands are activations.
        two_of_four: Whether every 4 input channels in a row hold at least 2 zeros.
        weights: The names of the constants that hold its weights.
        by_shape: Whether its layer is left in float because its shape is slower in int8.
        recurrent: Whether it is, or lies in, a loop over steps.
        of_activations: Whether no operand of it is a constant, on either side.
    """

    node: str
    layer: str
    op_type: str
    computes: str
    macs: int
    zeros: float | None
    two_of_four: bool
    weights: tuple[str, ...] = ()
    by_shape: bool = False
    recurrent: bool = False
    of_activations: bool = False

    @property
    def int8(self) -> bool:
        """Whether it runs in int8."""
        return self.computes == "int8"


def products(model: ir.Model, layers: Iterable[str], by_shape: Collection[str] = ()) -> Iterator[Product]:
    """All operators that multiply and add in a graph with inferred shapes, those inside loops too.

    Args:
        model: The finished graph.
        layers: The paths of the Keras layers.
        by_shape: Those that are left in float because their shapes are slower in int8.
    """
    layers = tuple(layers)
    for node, times, in_loop in _nodes(model.graph):
        if node.op_type not in _MACS:
            continue
        named = [
            (stored, w)
            for stored in map(_stored, node.inputs[1 : 3 if node.op_type in g.RECURRENT else 2])
            if (w := g.constant(stored)) is not None
        ]
        weights = [w for _, w in named]
        size = sum(w.size for w in weights)
        layer = layer_of(node.name or "", layers) or node.name or node.op_type
        yield Product(
            node=node.name or "",
            layer=layer,
            op_type=node.op_type,
            computes=_computes(node),
            macs=times * _MACS[node.op_type](node),
            zeros=1 - sum(map(np.count_nonzero, weights)) / max(size, 1) if weights else None,
            two_of_four=node.op_type in WEIGHTED
            and any(has_two_of_four(w, input_axis(node)) for w in weights[:1]),
            weights=tuple(stored.name for stored, _ in named if stored is not None and stored.name),
            by_shape=layer in by_shape,
            recurrent=in_loop or node.op_type in g.RECURRENT,
            of_activations=not weights and g.constant(_stored(node.inputs[0])) is None,
        )


def _nodes(graph: ir.Graph, times: int = 1, in_loop: bool = False) -> Iterator[tuple[ir.Node, int, bool]]:
    """Every node, how often it runs for one run of the model, and whether in a loop."""
    for node in graph:
        yield node, times, in_loop
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                loops = in_loop or node.op_type in ("Loop", "Scan")
                yield from _nodes(attribute.as_graph(), times * _rounds(node), loops)


def _rounds(node: ir.Node) -> int:
    """How often a node runs its body: 1 where only the data decides."""
    if node.op_type == "Loop":
        return max(int(g.scalar(node.inputs[0]) or 1), 1)
    if node.op_type == "Scan" and (scanned := g.integer(node, "num_scan_inputs", 0)):
        axis = (g.ints(node, "scan_input_axes") or [0])[0]
        sizes = _sizes(node.inputs[-scanned])
        return sizes[axis] if -len(sizes) <= axis < len(sizes) else 1
    return 1


def _computes(node: ir.Node) -> str:
    if node.op_type not in WEIGHTED:
        return "float"  # TensorRT's recurrent layers and einsums take no quantised operands
    dequantizers = [g.producer(v, "DequantizeLinear") for v in node.inputs[:2]]
    types = {None if d is None else d.inputs[0].dtype for d in dequantizers}
    names = {ir.DataType.INT8: "int8", ir.DataType.FLOAT8E4M3FN: "fp8"}
    return names.get(types.pop(), "float") if len(types) == 1 else "float"


def op_counts(model: ir.Model) -> dict[str, int]:
    """How often each operator occurs, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.all_nodes()).most_common())


def int8_share(counted: Iterable[Product]) -> float:
    """The share of the multiply-accumulates not faster in float that run in int8, 0.0 to 1.0."""
    counted = [p for p in counted if p.int8 or not p.by_shape]
    total = sum(p.macs for p in counted)
    return sum(p.macs for p in counted if p.int8) / total if total else 0.0


def float_work(
    counted: Iterable[Product], *, recurrent: bool = False, by_weights: bool = False
) -> dict[str, float]:
    """The share of all multiply-accumulates that each layer computes in float, by its path.

    Args:
        counted: All products of a graph.
        recurrent: Only of what lies in loops over steps.
        by_weights: Not of products of two activations.
    """
    counted = list(counted)
    total, macs = sum(p.macs for p in counted), Counter[str]()
    for product in counted:
        left_out = (recurrent and not product.recurrent) or (by_weights and product.of_activations)
        if product.computes == "float" and not left_out:
            macs[product.layer] += product.macs
    return {layer: own / total for layer, own in macs.items() if total}


def has_two_of_four(weight: np.ndarray, axis: int) -> bool:
    """Whether a weight has NVIDIA's 2:4 pattern along `axis`, and any zeros at all."""
    if weight.shape[axis] % 4 or 2 * np.count_nonzero(weight) > weight.size:
        return False
    groups = np.moveaxis(weight, axis, -1).reshape(-1, 4)
    return bool(((groups == 0).sum(axis=1) >= 2).all())


def _stored(value: ir.Value | None) -> ir.Value | None:
    """The value that holds a weight: before its DequantizeLinear, where there is one."""
    dq = g.producer(value, "DequantizeLinear")
    return dq.inputs[0] if dq is not None else value


def _convolution(node: ir.Node) -> int:
    """Each output sums over a kernel's inputs and window."""
    return math.prod(_sizes(node.outputs[0])) * math.prod(_sizes(node.inputs[1])[1:])


def _transposed_convolution(node: ir.Node) -> int:
    """Each input goes to a kernel's outputs and window."""
    return math.prod(_sizes(node.inputs[0])) * math.prod(_sizes(node.inputs[1])[1:])


def _matmul(node: ir.Node) -> int:
    x = _sizes(node.inputs[0])
    return math.prod(_sizes(node.outputs[0])) * x[-2 if g.integer(node, "transA", 0) else -1]


def _recurrent(node: ir.Node) -> int:
    """Each step multiplies by the weights of input and state, of both directions."""
    steps = _sizes(node.inputs[0])[1 if g.integer(node, "layout", 0) else 0]
    return steps * sum(math.prod(_sizes(value)) for value in node.inputs[1:3])


def _einsum(node: ir.Node) -> int:
    """One multiplication for every combination of indices, and for every operand after the first."""
    left = node.attributes["equation"].as_string().split("->")[0].replace(" ", "").split(",")
    sizes: dict[str, int] = {}
    for letters, value in zip(left, node.inputs, strict=True):
        shape = _sizes(value)
        head, dots, tail = letters.partition("...")
        between = shape[len(head) : len(shape) - len(tail)] if dots else []
        names = [*head, *(f"...{i}" for i in range(-len(between), 0)), *tail]
        for name, size in zip(names, shape, strict=False):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values()) * max(len(left) - 1, 0)


_MACS: dict[str, Callable[[ir.Node], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    **dict.fromkeys(("MatMul", "Gemm"), _matmul),
    **dict.fromkeys(g.RECURRENT, _recurrent),
    "Einsum": _einsum,
}


def _sizes(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        return list(g.constant_shape(value) or (1,))
    return [d if isinstance(d, int) else 1 for d in value.shape]
