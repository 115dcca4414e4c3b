"""Moves whole regions of a graph to another order of axes, where that takes fewer Transposes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.layout.any_layout import can_be_moved, move, permuted


class MoveRegionsPass(ir.passes.InPlacePass):
    """Turns NHWC arithmetic between NCHW convolutions into NCHW arithmetic.

    A region is what is connected through nodes that work in any order of axes (`any_layout`). Moved, it needs
    a Transpose where a tensor comes in or goes out in the old order; it is moved when it had more of them at
    its borders. Transposes that meet are left to `SimplifyPass`.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks at each region once."""
        modified = False
        for region in list(_regions(model.graph)):
            orders = sorted(region.orders(), key=lambda order: (-region.saved(order), order))
            if orders and region.saved(orders[0]) > 0:
                region.move(orders[0])
                modified = True
        return ir.passes.PassResult(model, modified)


Order = tuple[int, ...]
"""As a Transpose's `perm`: axis i of the region's tensors is axis `order[i]` of the moved ones."""


@dataclass
class _Region:
    nodes: dict[ir.Node, None] = field(default_factory=dict)  # in the graph's order
    values: dict[ir.Value, None] = field(default_factory=dict)

    def orders(self) -> set[Order]:
        """The orders that would make a Transpose at the border needless."""
        into = (_order(value.producer()) for value in self.values)
        out = (_order(node) for value in self.values for node in self._outside(value))
        return {o for o in into if o is not None} | {_inverse(o) for o in out if o is not None}

    def saved(self, order: Order) -> int:
        """How many Transposes fewer there are after a move."""
        return sum(self._saved_before(v, order) for v in self._entries()) + sum(
            self._saved_behind(v, order) for v in self._made()
        )

    def _saved_before(self, value: ir.Value, order: Order) -> int:
        had = _order(value.producer())
        if had is None:
            return -1
        needed_still = bool(self._outside(value)) or value.is_graph_output()
        return int(had == order) - int(needed_still)  # a Transpose of another order takes the new one in

    def _saved_behind(self, value: ir.Value, order: Order) -> int:
        outside = self._outside(value)
        needless = sum(_order(node) == _inverse(order) for node in outside)
        others = [n for n in outside if _order(n) is None and not _takes_any_order(n, value, order)]
        return needless - int(bool(others) or value.is_graph_output())

    def _entries(self) -> list[ir.Value]:
        return [value for value in self.values if value.producer() not in self.nodes]

    def _made(self) -> list[ir.Value]:
        return [value for value in self.values if value.producer() in self.nodes]

    def _outside(self, value: ir.Value) -> list[ir.Node]:
        return [use.node for use in value.uses() if use.node not in self.nodes]

    def move(self, order: Order) -> None:
        """Rewrites the region, with Transposes at its borders."""
        entries, made = self._entries(), self._made()
        for node in (*(v.producer() for v in entries), *(n for v in made for n in self._outside(v))):
            _make_transpose(node)
        outside = {value: self._outside(value) for value in made}
        for value in entries:
            first = next(node for node in self.nodes if value in node.inputs)
            into = _transpose(value, _inverse(order), first, before=True)
            for node in self.nodes:
                _replace(node, value, into)
        for node in self.nodes:
            move(node, order)
        for value in made:
            old = value.shape
            value.shape = None if old is None else ir.Shape(permuted(list(old), order))
            producer = value.producer()
            if producer is None or not (outside[value] or value.is_graph_output()):
                continue
            back = _transpose(value, order, producer, before=False)
            back.shape = old
            for consumer in outside[value]:
                _replace(consumer, value, back)
            if value.is_graph_output():
                _swap_output(value, back)


def _regions(graph: ir.Graph) -> Iterator[_Region]:
    """The regions at whose borders there is a Transpose."""
    place = {node: i for i, node in enumerate(graph)}
    seen: set[ir.Value] = set()
    for node in list(graph):
        if _order(node) is None:
            continue
        for start in (node.outputs[0], node.inputs[0]):
            rank = g.rank(start)
            if start is None or start in seen or rank is None or start.is_initializer():
                continue
            region = _grown(start, rank, place)
            seen.update(region.values)
            if region.nodes:
                region.nodes = dict.fromkeys(sorted(region.nodes, key=place.__getitem__))
                yield region


def _grown(start: ir.Value, rank: int, place: dict[ir.Node, int]) -> _Region:
    region, waiting = _Region(), [start]
    while waiting:
        value = waiting.pop()
        if value in region.values:
            continue
        region.values[value] = None
        producer = value.producer()
        around = [*(use.node for use in value.uses()), *([] if producer is None else [producer])]
        for node in around:
            if node in region.nodes or node not in place or not can_be_moved(node, rank):
                continue
            region.nodes[node] = None
            waiting += [v for v in (*node.inputs, *node.outputs) if v is not None and _is_part(v, rank)]
    return region


def _is_part(value: ir.Value, rank: int) -> bool:
    return g.rank(value) == rank and g.constant_shape(value) is None


def _order(node: ir.Node | None) -> Order | None:
    """The order that a Transpose makes, or a Reshape that does nothing but move axes of size one."""
    if node is None or node.op_type not in ("Transpose", "Reshape"):
        return None
    if node.op_type == "Reshape":
        return _order_of_reshape(node.inputs[0], node.outputs[0])
    perm = g.ints(node, "perm")
    return None if perm is None else tuple(perm)


def _order_of_reshape(before: ir.Value | None, after: ir.Value) -> Order | None:
    if before is None or before.shape is None or after.shape is None or len(before.shape) != len(after.shape):
        return None
    old, new = list(before.shape)[1:], list(after.shape)[1:]
    if any(not isinstance(size, int) for size in (*old, *new)) or 0 in (*old, *new):
        return None
    if [size for size in old if size != 1] != [size for size in new if size != 1] or old == new:
        return None
    ones, others = ([i for i, size in enumerate(old, 1) if (size == 1) == is_one] for is_one in (True, False))
    return (0, *((ones if size == 1 else others).pop(0) for size in new))


def _inverse(order: Order) -> Order:
    return tuple(int(i) for i in np.argsort(order))


def _takes_any_order(node: ir.Node, value: ir.Value, order: Order) -> bool:
    """Whether a reduction takes the Transpose in (see `RemoveTransposesPass`)."""
    axes = g.constant(node.inputs[1]) if node.op_type.startswith("Reduce") and len(node.inputs) > 1 else None
    if axes is None or g.integer(node, "keepdims", 1) or node.inputs[0] is not value:
        return False
    reduced = {int(axis) % len(order) for axis in axes.reshape(-1)}
    left = [axis for i, axis in enumerate(order) if i not in reduced]
    return left == sorted(left)


def _make_transpose(node: ir.Node | None) -> None:
    """Writes a Reshape that moves axes as a Transpose, which others can take in."""
    order = _order(node)
    if node is not None and order is not None and node.op_type == "Reshape":
        node.replace_input_with(1, None)
        node.resize_inputs(1)
        node.op_type = "Transpose"
        node.attributes.clear()
        node.attributes["perm"] = ir.AttrInt64s("perm", order)


def _transpose(value: ir.Value, order: Order, anchor: ir.Node, *, before: bool) -> ir.Value:
    node = ir.node("Transpose", [value], {"perm": list(order)}, name=f"{anchor.name}/transpose")
    output, graph = node.outputs[0], anchor.graph
    assert graph is not None  # the node is one of the graph's
    output.name, output.type = f"{value.name}__moved", value.type
    output.shape = None if value.shape is None else ir.Shape([value.shape[i] for i in order])
    (graph.insert_before if before else graph.insert_after)(anchor, node)
    return output


def _replace(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    for index, value in enumerate(node.inputs):
        if value is old:
            node.replace_input_with(index, new)


def _swap_output(value: ir.Value, new: ir.Value) -> None:
    """The graph returns `new` in the place and under the name of `value`."""
    producer = new.producer()
    graph = None if producer is None else producer.graph
    assert graph is not None  # it has just been inserted
    value.name, new.name = f"{value.name}__moved", value.name
    graph.outputs[:] = [new if output is value else output for output in graph.outputs]
