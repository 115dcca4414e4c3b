"""Reading and changing an ONNX graph as it is loaded. `onnx_ir` is handed in: bundles run without it too."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir


class Editor:
    """Adds nodes and constants to a graph, under names that no exported graph has."""

    def __init__(self, graph: onnx_ir.Graph, ir: ModuleType) -> None:
        self.graph, self._ir = graph, ir
        self._number = itertools.count()

    def constant(self, word: str, value: np.ndarray) -> onnx_ir.Value:
        """A new initializer."""
        name = self._name(word)
        tensor = self._ir.tensor(value, name=name)
        made = self._ir.Value(
            name=name,
            type=self._ir.TensorType(tensor.dtype),
            shape=self._ir.Shape(value.shape),
            const_value=tensor,
        )
        self.graph.register_initializer(made)
        return made

    def before(
        self,
        place: onnx_ir.Node,
        op_type: str,
        inputs: Sequence[object],
        attributes: Mapping[str, object] | None = None,
    ) -> onnx_ir.Value:
        """The output of a new node in front of another; arrays among the inputs become constants."""
        values = [self.constant(op_type, x) if isinstance(x, np.ndarray) else x for x in inputs]
        layer = (place.name or "").rpartition("/")[0]
        node = self._ir.node(op_type, values, attributes, name=f"{layer}/{self._name(op_type)}")
        node.outputs[0].name = node.name
        self.graph.insert_before(place, node)
        return node.outputs[0]

    def pair(
        self, place: onnx_ir.Node, value: onnx_ir.Value, step: np.float32, zero: np.uint8
    ) -> onnx_ir.Value:
        """A value quantised and dequantised, in front of a node."""
        ends = [self.constant("step", np.array(step)), self.constant("zero_point", np.array(zero))]
        return self.before(
            place, "DequantizeLinear", [self.before(place, "QuantizeLinear", [value, *ends]), *ends]
        )

    def retype(self, value: onnx_ir.Value, name: str) -> None:
        """Declares another element type."""
        value.type = self._ir.TensorType(self._ir.DataType[name])

    def tidy(self) -> None:
        """Sorts the nodes, and drops those and the constants that nothing reads."""
        self.graph.sort()
        for node in reversed(list(self.graph)):
            if not any(value.uses() or value.is_graph_output() for value in node.outputs):
                self.graph.remove(node, safe=True)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del self.graph.initializers[name]

    def _name(self, word: str) -> str:
        return f"added//{word}/{next(self._number)}"


def constant(value: onnx_ir.Value | None) -> np.ndarray | None:
    """What an initializer holds; None for a value that is computed."""
    if value is None or value.const_value is None:
        return None
    array: np.ndarray = value.const_value.numpy()
    return array


def only_reader(value: onnx_ir.Value) -> onnx_ir.Node | None:
    """The one node that reads a value, once; None where another does too, or the graph returns it."""
    uses = value.uses()
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None
