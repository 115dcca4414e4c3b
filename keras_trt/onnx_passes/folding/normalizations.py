"""Which nodes of a graph are a normalisation of which tensor, however it is written."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.folding.moments import Polynomial

_LARGEST = 2**20  # elements of a constant that is looked at


@dataclass(frozen=True)
class Normalization:
    """`(x - m) / sqrt(variance + epsilon) * gamma + beta`, over the last axes of x.

    Attributes:
        last: The node that makes it.
        x: What is normalised.
        axis: The first of the axes that means are over.
        gamma: What multiplies it; broadcasts against x.
        beta: What is added; broadcasts against x.
        epsilon: What is added to the variance.
        about_mean: Whether m is the mean; else it is 0 and the variance the mean of the squares.
    """

    last: ir.Node
    x: ir.Value
    axis: int
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float
    about_mean: bool


def normalizations(graph: ir.Graph, wanted: Callable[[Normalization], bool]) -> Iterator[Normalization]:
    """The normalisations of a graph that are wanted, the outermost of those within each other.

    Between two of them, the graph may be changed.

    Args:
        graph: With inferred shapes.
        wanted: Says of each whether it is.
    """
    places = {node: index for index, node in enumerate(graph)}
    done = set[tuple[ir.Value, int]]()
    for node in list(places):
        axis = _first_axis(node)
        if axis is None or node.graph is None:
            continue
        for x in list(_normalized(node)):
            if (x, axis) not in done:
                done.add((x, axis))
                yield from list(_of_tensor(x, axis, places, wanted))


def _normalized(mean: ir.Node) -> Iterator[ir.Value]:
    """What a mean may belong to a normalisation of: its input, and what that is the square of."""
    x = g.given(mean.inputs[0])
    yield x
    square = x.producer()
    if square is not None and square.op_type in ("Mul", "Pow"):
        first = g.given(square.inputs[0])
        if square.inputs[1] is first or g.scalar(square.inputs[1]) == 2:
            yield first


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


def _of_tensor(
    x: ir.Value, axis: int, places: dict[ir.Node, int], wanted: Callable[[Normalization], bool]
) -> Iterator[Normalization]:
    """Those of one tensor over its axes from one on."""
    normalized = {}
    for value, polynomial in _polynomials(x, axis, places).items():
        parameters = polynomial.normalization()
        if parameters is None or polynomial.epsilon is None:
            continue
        last = g.given(value.producer())
        each = Normalization(last, x, axis, *parameters, polynomial.epsilon, polynomial.about_mean)
        if wanted(each):
            normalized[value] = each
    for value, each in normalized.items():
        users = [use.node for use in value.uses()]
        inside = bool(users) and all(node.outputs[0] in normalized for node in users)
        if not inside or value.is_graph_output():
            yield each


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


def per_row(array: np.ndarray, shape: list[int]) -> np.ndarray | None:
    """A factor or shift in the shape of the last axes; None where it differs along the others."""
    trailing = array.shape[max(array.ndim - len(shape), 0) :]
    if array.size != np.prod(trailing, dtype=int):
        return None
    try:
        return np.broadcast_to(array.reshape(trailing), shape).astype(np.float32)
    except ValueError:
        return None
