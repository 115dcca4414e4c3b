"""Activations as ONNX's own operators: Gelu, HardSwish and Swish, however they are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from keras_trt._base.names import unique
from keras_trt.onnx_passes import _graph as g

_erf = np.vectorize(math.erf, otypes=[np.float64])
_MOST = 24  # nodes that are looked at behind a tensor
_TOLERANCE = 1e-6  # constants such as sqrt(1 / 2) are float32


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + _erf(x * math.sqrt(0.5)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@dataclass(frozen=True)
class Activation:
    """An operator of ONNX.

    Attributes:
        op_type: Its name.
        opset: The first opset that has it.
        function: What it computes.
        attributes: Those that are not the default.
    """

    op_type: str
    opset: int
    function: Callable[[np.ndarray], np.ndarray]
    attributes: tuple[tuple[str, str], ...] = ()


ACTIVATIONS = (
    Activation("HardSwish", 14, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    Activation("Gelu", 20, _gelu),
    Activation("Gelu", 20, _gelu_tanh, (("approximate", "tanh"),)),
    Activation("Swish", 24, lambda x: x * _sigmoid(x)),
)


class ActivationsPass(ir.passes.InPlacePass):
    """Puts one operator in the place of those that compute an activation, where the opset has it.

    What a chain of elementwise operators makes of one tensor is found by computing it, at points that cover
    all magnitudes and both sides of each constant of the chain: no way to write it is missed, and no other
    function is taken for it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks behind every tensor that an elementwise operator reads; what is left unused goes."""
        opset = model.opset_imports[""]
        known = [each for each in ACTIVATIONS if each.opset <= opset]
        taken = {node.name for node in model.graph if node.name}
        modified = False
        for x in list(_tensors(model.graph)):
            for last, activation in list(_activations(model.graph, x, known)):
                name = unique(
                    f"{(last.name or '').rpartition('/')[0]}/{activation.op_type}".lstrip("/"), taken
                )
                attributes = dict(activation.attributes)
                y = g.insert(last, activation.op_type, [x], attributes, like=last.outputs[0], name=name)
                g.replace(last, y)
                modified = True
        return ir.passes.PassResult(model, modified)


def _tensors(graph: ir.Graph) -> Iterator[ir.Value]:
    """What may be the x of an activation."""
    yield from (value for value in graph.inputs if value.dtype == ir.DataType.FLOAT)
    for node in graph:
        yield from (value for value in node.outputs if value.dtype == ir.DataType.FLOAT)


def _activations(
    graph: ir.Graph, x: ir.Value, known: list[Activation]
) -> Iterator[tuple[ir.Node, Activation]]:
    """The nodes whose output is an activation of x."""
    if g.rank(x) is None or len(list(x.uses())) < 2:  # each of them is a product with x itself
        return
    chain = _chain(graph, x)
    if not chain:
        return
    points = _points(chain)
    values: dict[ir.Value, np.ndarray] = {x: points}
    with np.errstate(all="ignore"):
        wanted = [(each, each.function(points)) for each in known]
        for node in chain:
            computed = _COMPUTE[node.op_type](node, [_operand(value, values) for value in node.inputs])
            values[node.outputs[0]] = computed
            for activation, expected in wanted:
                if node.op_type in ("Mul", "Div") and _is_same(computed, expected):
                    yield node, activation
                    break


def _is_same(computed: np.ndarray, expected: np.ndarray) -> bool:
    scale = np.maximum(np.abs(expected), 1)
    return bool(np.all(np.abs(computed - expected) <= _TOLERANCE * scale))


def _chain(graph: ir.Graph, x: ir.Value) -> list[ir.Node]:
    """Elementwise nodes that depend on x and numbers alone, in the graph's order."""
    reached, chain = {x}, list[ir.Node]()
    waiting = [use.node for use in x.uses()]
    while waiting and len(chain) < _MOST:
        node = waiting.pop(0)
        output = node.outputs[0]
        if output in reached or node.op_type not in _COMPUTE or node.graph is not graph:
            continue
        if not all(value is None or value in reached or g.scalar(value) is not None for value in node.inputs):
            continue
        if g.rank(output) != g.rank(x):  # a number of several axes has made more of it
            continue
        reached.add(output)
        chain.append(node)
        waiting += [use.node for use in output.uses()]
    return chain


def _points(chain: list[ir.Node]) -> np.ndarray:
    """Numbers of all magnitudes and signs that an activation meets, and both sides of each constant."""
    numbers = {n for node in chain for value in node.inputs if (n := g.scalar(value)) is not None}
    magnitudes = np.concatenate([np.linspace(0, 12, 97), np.logspace(-4, 4, 33)])
    edges = np.array(sorted(n * f for n in numbers if abs(n) < 1e4 for f in (-1.001, -0.999, 0.999, 1.001)))
    return np.concatenate([magnitudes, -magnitudes, edges])


def _operand(value: ir.Value | None, values: dict[ir.Value, np.ndarray]) -> np.ndarray | None:
    if value is None:
        return None
    return values[value] if value in values else np.float64(g.given(g.scalar(value)))


def _clip(node: ir.Node, operands: list[np.ndarray | None]) -> np.ndarray:
    x, low, high = (*operands, None, None)[:3]
    y = g.given(x) if low is None else np.maximum(g.given(x), low)
    return y if high is None else np.minimum(y, high)


def _number(node: ir.Node, name: str, default: float) -> float:
    return node.attributes[name].as_float() if name in node.attributes else default


def _hard_sigmoid(node: ir.Node, operands: list[np.ndarray | None]) -> np.ndarray:
    return np.clip(_number(node, "alpha", 0.2) * g.given(operands[0]) + _number(node, "beta", 0.5), 0, 1)


def _of(function: Callable[..., np.ndarray]) -> Callable[[ir.Node, list[np.ndarray | None]], np.ndarray]:
    return lambda node, operands: function(*operands)


_COMPUTE: dict[str, Callable[[ir.Node, list[np.ndarray | None]], np.ndarray]] = {
    "Add": _of(np.add),
    "Sub": _of(np.subtract),
    "Mul": _of(np.multiply),
    "Div": _of(np.divide),
    "Pow": _of(np.power),
    "Max": _of(np.maximum),
    "Min": _of(np.minimum),
    "Neg": _of(np.negative),
    "Exp": _of(np.exp),
    "Reciprocal": _of(np.reciprocal),
    "Tanh": _of(np.tanh),
    "Sigmoid": _of(_sigmoid),
    "Erf": _of(_erf),
    "Relu": _of(lambda x: np.maximum(x, 0)),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
}
