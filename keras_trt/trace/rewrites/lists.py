"""Lists of tensors (`tf.TensorArray`) that Python loops fill and read; tf2onnx knows them in a `While`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt.trace.graph_view import GraphView, is_control
from keras_trt.trace.weights import make_constant

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef


def inline_lists(graph_def: GraphDef, values: Mapping[str, np.ndarray]) -> None:
    """Lets what reads lists read their items, in place, where all places are known.

    Args:
        graph_def: A frozen graph.
        values: The values of placeholders that are constants.
    """
    lists = _Lists(graph_def, values)
    reads = [node for node in graph_def.node if node.op in ("TensorListGetItem", "TensorListStack")]
    new = [(node, lists.item(node) if node.op.endswith("Item") else lists.stacked(node)) for node in reads]
    for node, inputs in new:
        if inputs is None:
            continue
        dtype = node.attr["element_dtype"].type
        node.attr.clear()
        if node.op == "TensorListStack":
            node.op, node.attr["N"].i, node.attr["T"].type = "Pack", len(inputs), dtype
        elif len(inputs) == 1:
            node.op, node.attr["T"].type = "Identity", dtype
        else:
            _gather(graph_def, node, dtype)
        node.input[:] = [*inputs, *(name for name in node.input if is_control(name))]


@dataclass
class _Lists:
    graph_def: GraphDef
    values: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        self.view = GraphView(self.graph_def)

    def item(self, node: NodeDef) -> list[str] | None:
        """The tensor that a read gives; or the tensor whose row it gives, the row and the axis."""
        place = self._number(node.input[1])
        items, base = self._filled(node.input[0])
        if place is None or items is None:
            return None
        if place in items:
            return [items[place]]
        rows = base.op == "TensorListFromTensor"
        return [base.input[0], node.input[1], f"{node.name}/axis"] if rows else None

    def stacked(self, node: NodeDef) -> list[str] | None:
        """All items of a list, if it has been filled."""
        items, base = self._filled(node.input[0])
        if items is None or base.op != "TensorListReserve":
            return None
        count = self._number(base.input[1])
        return [items[i] for i in range(count)] if count and items.keys() >= set(range(count)) else None

    def _filled(self, tensor: str) -> tuple[dict[int, str] | None, Any]:
        """What was put into a list, by its place, and what made the list; None where that is not known."""
        items: dict[int, str] = {}
        node = self.view.maker(tensor)
        while node.op in ("TensorListSetItem", "Identity"):
            if node.op == "TensorListSetItem":
                place = self._number(node.input[1])
                if place is None:
                    return None, node
                items.setdefault(place, node.input[2])  # the last one counts
            node = self.view.maker(node.input[0])
        known = node.op in ("TensorListReserve", "TensorListFromTensor")
        return items if known else None, node

    def _number(self, tensor: str) -> int | None:
        from tensorflow import make_ndarray

        node = self.view.maker(tensor)
        if node.op == "Const":
            return int(make_ndarray(node.attr["value"].tensor))
        return int(self.values[node.name]) if node.name in self.values else None


def _gather(graph_def: GraphDef, node: NodeDef, dtype: int) -> None:
    axis = graph_def.node.add(name=f"{node.name}/axis")
    make_constant(axis, np.array(0, np.int32))
    int32 = axis.attr["dtype"].type
    node.op, node.attr["Tparams"].type = "GatherV2", dtype
    node.attr["Tindices"].type = node.attr["Taxis"].type = int32
    node.attr["batch_dims"].i = 0
