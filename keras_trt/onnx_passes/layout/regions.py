"""Moves whole regions of a graph to another order of axes, where that takes fewer Transposes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.layout.any_layout import can_be_moved, move, permuted
from keras_trt.onnx_passes.layout.orders import inverse, is_plain, make_transpose, order_of
from keras_trt.onnx_passes.layout.other_rank import Order, carried, groups_of, move_ranks, reversed_groups
from keras_trt.onnx_passes.layout.pointwise import move_product, product_can_be_moved
from keras_trt.onnx_passes.naming import layer_of


class MoveRegionsPass(ir.passes.InPlacePass):
    """Turns NHWC arithmetic between NCHW convolutions into NCHW arithmetic.

    A region is what is connected through nodes that work in any order of axes (`any_layout`), or carry it on
    to tensors of another rank (`other_rank`). Moved, it needs a Transpose where a tensor comes in or goes out
    in the old order; it is moved when it had more of them at its borders. Transposes that meet are left to
    `SimplifyPass`.

    Args:
        layers: The paths of all layers, to tell which layer a node belongs to.
        matrices: The paths of those whose weights must stay matrices, as their format needs it.
    """

    def __init__(self, layers: Iterable[str] = (), matrices: Iterable[str] = ()) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.matrices = frozenset(matrices)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks at each region and order once, and moves those that save most.

        What they hold stays then, and so do their neighbours: two regions with Transposes between them would
        only change places.
        """
        moved: set[ir.Value] = set()
        place = {node: i for i, node in enumerate(model.graph) if not self._stays(node)}
        regions = [(region.saved(), region) for region in _regions(model.graph, place)]
        for saved, region in sorted(regions, key=lambda scored: -scored[0]):
            if saved > 0 and moved.isdisjoint(region.orders):
                moved.update(region.orders, region.neighbours())
                region.move()
        return ir.passes.PassResult(model, bool(moved))

    def _stays(self, node: ir.Node) -> bool:
        is_product = bool(self.matrices) and node.op_type == "MatMul"
        return is_product and layer_of(node.name or "", self.layers) in self.matrices


@dataclass
class _Region:
    nodes: dict[ir.Node, None] = field(default_factory=dict)  # in the graph's order
    orders: dict[ir.Value, Order] = field(default_factory=dict)  # what each tensor is moved to

    def saved(self) -> int:
        """How many Transposes fewer there are after a move."""
        return sum(map(self._saved_before, self._entries())) + sum(map(self._saved_behind, self._made()))

    def _saved_before(self, value: ir.Value) -> int:
        had = order_of(value.producer())
        if had is None:
            return -1
        needed_still = bool(self._outside(value)) or value.is_graph_output()
        # A Transpose of another order takes the new one in.
        return int(had == self.orders[value]) - int(needed_still)

    def _saved_behind(self, value: ir.Value) -> int:
        outside = self._outside(value)
        needless = sum(order_of(node) == inverse(self.orders[value]) for node in outside)
        others = [node for node in outside if order_of(node) is None and node.op_type != "Shape"]
        return needless - int(bool(others) or value.is_graph_output())

    def _entries(self) -> list[ir.Value]:
        return [v for v in self.orders if v.producer() not in self.nodes and not self._stays(v)]

    def _made(self) -> list[ir.Value]:
        return [v for v in self.orders if v.producer() in self.nodes and not self._stays(v)]

    def _stays(self, value: ir.Value) -> bool:
        return is_plain(self.orders[value])

    def _outside(self, value: ir.Value) -> list[ir.Node]:
        return [use.node for use in value.uses() if use.node not in self.nodes]

    def neighbours(self) -> list[ir.Value]:
        """What lies on the other sides of the Transposes at its borders."""
        before = [v.producer() for v in self._entries()]
        behind = [node for v in self._made() for node in self._outside(v)]
        sources = [node.inputs[0] for node in before if node is not None and order_of(node) is not None]
        return [*filter(None, sources), *(n.outputs[0] for n in behind if order_of(n) is not None)]

    def move(self) -> None:
        """Rewrites the region, with Transposes at its borders."""
        entries, made = self._entries(), self._made()
        for node in (*(v.producer() for v in entries), *(n for v in made for n in self._outside(v))):
            make_transpose(node)
        outside = {value: self._outside(value) for value in made}
        for node in self.nodes:
            self._move_node(node)
        for value in entries:
            first = next(node for node in self.nodes if value in node.inputs)
            into = _transpose(value, inverse(self.orders[value]), first, before=True)
            for node in self.nodes:
                _replace(node, value, into)
        for value in made:
            old, order = value.shape, self.orders[value]
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

    def _move_node(self, node: ir.Node) -> None:
        after = self.orders[node.outputs[0]]
        if node.op_type == "MatMul":
            move_product(node, after)
        elif groups_of(node) is None:
            move(node, after)
        else:
            move_ranks(node, self.orders[g.given(node.inputs[0])], after)


def _regions(graph: ir.Graph, place: dict[ir.Node, int]) -> Iterator[_Region]:
    """The regions at whose borders there is a Transpose, in each order that makes it needless."""
    seen: set[tuple[ir.Value, Order]] = set()
    for node in list(graph):
        order = order_of(node)
        if order is None:
            continue
        for start, wanted in ((node.outputs[0], order), (node.inputs[0], inverse(order))):
            if start is None or (start, wanted) in seen or g.rank(start) != len(wanted):
                continue
            if start.is_initializer():
                continue
            region = _grown(start, wanted, place)
            seen.update(region.orders.items())
            if region.nodes:
                region.nodes = dict.fromkeys(sorted(region.nodes, key=place.__getitem__))
                yield region


def _grown(start: ir.Value, order: Order, place: dict[ir.Node, int]) -> _Region:
    region, waiting = _Region(orders={start: order}), [start]
    while waiting:
        value = waiting.pop()
        producer = value.producer()
        around = [*(use.node for use in value.uses()), *([] if producer is None else [producer])]
        for node in around:
            if node in region.nodes or node not in place:
                continue
            orders = _orders_around(node, value, region.orders[value])
            if any(region.orders.get(v, wanted) != wanted for v, wanted in orders.items()):
                continue  # its tensors would need two orders
            if orders:
                region.nodes[node] = None
            waiting += [v for v, o in orders.items() if v not in region.orders and not is_plain(o)]
            region.orders.update(orders)
    return region


def _orders_around(node: ir.Node, value: ir.Value, order: Order) -> dict[ir.Value, Order]:
    """The orders of all tensors of a node, when one of them has this one; none if it cannot be moved."""
    if order_of(node) is not None:
        return {}
    source, target = (node.inputs[0] if node.inputs else None), node.outputs[0]
    if source is not None and product_can_be_moved(node, order):
        return {source: order, target: order}
    if can_be_moved(node, len(order)):
        tensors = (v for v in (*node.inputs, *node.outputs) if v is not None)
        return {v: order for v in tensors if _can_be_moved(v, len(order))}
    groups = groups_of(node)
    if groups is None or source is None or value not in (source, target):
        return {}
    other = carried(groups if value is source else reversed_groups(groups), order)
    if other is None:
        return {}
    return {source: order, target: other} if value is source else {source: other, target: order}


def _can_be_moved(value: ir.Value, rank: int) -> bool:
    return g.rank(value) == rank and g.constant_shape(value) is None


def _transpose(value: ir.Value, order: Order, anchor: ir.Node, *, before: bool) -> ir.Value:
    node = ir.node("Transpose", [value], {"perm": list(order)}, name=f"{anchor.name}/transpose")
    output, graph = node.outputs[0], g.given(anchor.graph)
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
    graph = g.given(g.given(new.producer()).graph)
    value.name, new.name = f"{value.name}__moved", value.name
    graph.outputs[:] = [new if output is value else output for output in graph.outputs]
