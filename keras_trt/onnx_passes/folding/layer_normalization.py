"""Layer normalisation as ONNX's own operator, which TensorRT computes in one layer."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from keras_trt._names import unique
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.folding.moments import Polynomial

_LARGEST = 2**20  # elements of a constant that is looked at


class LayerNormalizationPass(ir.passes.InPlacePass):
    """Puts one `LayerNormalization` in the place of the operators that compute it, over the last axes.

    However it is written: each tensor that depends only on x, constants and means of x is worked out as a
    polynomial (`moments`). Over other axes, as where channels come first, ONNX has no operator for it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks behind every tensor whose mean is taken; what is left unused goes."""
        places = {node: index for index, node in enumerate(model.graph)}
        taken = {node.name for node in places if node.name}
        done = set[tuple[ir.Value, int]]()
        modified = False
        for node in list(places):
            axis = _first_axis(node)
            if node.graph is None or axis is None or (node.inputs[0], axis) in done:
                continue
            x = g.given(node.inputs[0])
            done.add((x, axis))
            for last, gamma, beta, epsilon in list(_normalizations(x, axis, places)):
                _replace(last, x, axis, (gamma, beta), epsilon, taken)
                modified = True
        return ir.passes.PassResult(model, modified)


def _first_axis(node: ir.Node) -> int | None:
    """The first of the last axes that a `ReduceMean` is over, of known sizes; None for all else."""
    if node.op_type != "ReduceMean" or not g.integer(node, "keepdims", 1):
        return None
    x = node.inputs[0]
    given = g.constant(node.inputs[1]) if len(node.inputs) > 1 else g.ints(node, "axes")
    if given is None or x is None or x.shape is None:
        return None
    rank = len(x.shape)
    axes = sorted(int(axis) % rank for axis in given)
    first = rank - len(axes)
    known = all(isinstance(size, int) for size in x.shape[first:])
    return first if axes and axes == list(range(first, rank)) and first > 0 and known else None


def _normalizations(
    x: ir.Value, axis: int, places: dict[ir.Node, int]
) -> Iterator[tuple[ir.Node, np.ndarray, np.ndarray, float]]:
    """The last nodes of all normalisations of x: (node, gamma, beta, epsilon)."""
    known = _polynomials(x, axis, places)
    shape = [int(size) for size in g.given(x.shape)[axis:]]
    normalized = {}
    for value, polynomial in known.items():
        parameters = polynomial.normalization()
        if parameters is None:
            continue
        gamma, beta = (_per_row(array, shape) for array in parameters)
        if gamma is not None and beta is not None and polynomial.epsilon is not None:
            normalized[value] = gamma, beta, polynomial.epsilon
    for value, (gamma, beta, epsilon) in normalized.items():
        users = [use.node for use in value.uses()]
        inside = bool(users) and all(node.outputs[0] in normalized for node in users)
        if not inside or value.is_graph_output():
            yield g.given(value.producer()), gamma, beta, epsilon


def _polynomials(x: ir.Value, axis: int, places: dict[ir.Node, int]) -> dict[ir.Value, Polynomial]:
    """What is known of the tensors that depend on nothing but x and constants, in the graph's order."""
    known = {x: Polynomial.of_tensor()}
    waiting = [(places[use.node], use.node) for use in x.uses() if use.node in places]
    heapq.heapify(waiting)
    last = -1
    while waiting:
        place, node = heapq.heappop(waiting)
        if place == last:
            continue
        last = place
        polynomial = _polynomial(node, axis, known)
        if polynomial is not None:
            known[node.outputs[0]] = polynomial
            for use in node.outputs[0].uses():
                if use.node in places:
                    heapq.heappush(waiting, (places[use.node], use.node))
    del known[x]
    return known


def _polynomial(node: ir.Node, axis: int, known: dict[ir.Value, Polynomial]) -> Polynomial | None:
    """What a node makes of polynomials; None where that is none."""
    if node.op_type == "ReduceMean":
        same = _first_axis(node) == axis
        return known[g.given(node.inputs[0])].mean() if same else None
    operands = [_operand(value, known) for value in node.inputs]
    if any(operand is None for operand in operands):
        return None
    first, *more = (g.given(operand) for operand in operands)
    if node.op_type == "Pow":
        return _power(first, g.scalar(node.inputs[1]))
    compute = _COMPUTE.get(node.op_type)
    return None if compute is None else compute(first, *more)


def _quotient(first: Polynomial, second: Polynomial) -> Polynomial | None:
    inverse = second.inverse()
    return None if inverse is None else first.times(inverse)


_MINUS_ONE = Polynomial.of_constant(np.array(-1.0))
_COMPUTE: dict[str, Callable[..., Polynomial | None]] = {
    "Identity": lambda x: x,
    "Neg": lambda x: x.times(_MINUS_ONE),
    "Sqrt": Polynomial.root,
    "Reciprocal": Polynomial.inverse,
    "Add": Polynomial.plus,
    "Sub": lambda x, y: x.plus(y, -1),
    "Mul": Polynomial.times,
    "Div": _quotient,
}


def _operand(value: ir.Value | None, known: dict[ir.Value, Polynomial]) -> Polynomial | None:
    if value in known:
        return known[value]
    shape = g.constant_shape(value)
    if shape is None or np.prod(shape) > _LARGEST:
        return None
    array = g.given(g.constant(value))
    return Polynomial.of_constant(array) if np.issubdtype(array.dtype, np.floating) else None


def _power(base: Polynomial, exponent: float | None) -> Polynomial | None:
    if exponent == 2:
        return base.times(base)
    root = base.root() if exponent in (0.5, -0.5) else None
    return root.inverse() if root is not None and exponent == -0.5 else root


def _per_row(array: np.ndarray, shape: list[int]) -> np.ndarray | None:
    """A factor or shift in the shape of the last axes; None where it differs along the others."""
    trailing = array.shape[max(array.ndim - len(shape), 0) :]
    if array.size != np.prod(trailing, dtype=int):
        return None
    try:
        return np.broadcast_to(array.reshape(trailing), shape).astype(np.float32)
    except ValueError:
        return None


def _replace(
    last: ir.Node,
    x: ir.Value,
    axis: int,
    parameters: tuple[np.ndarray, np.ndarray],
    epsilon: float,
    taken: set[str],
) -> None:
    name = unique(f"{(last.name or '').rpartition('/')[0]}/LayerNormalization".lstrip("/"), taken)
    graph = g.given(last.graph)
    scale, bias = (
        g.add_constant(graph, array, f"{name}/{label}")
        for array, label in zip(parameters, ("scale", "bias"), strict=True)
    )
    attributes = {"axis": axis - len(g.given(x.shape)), "epsilon": epsilon, "stash_type": 1}
    y = g.insert(last, "LayerNormalization", [x, scale, bias], attributes, like=x, name=name)
    g.replace(last, y)
