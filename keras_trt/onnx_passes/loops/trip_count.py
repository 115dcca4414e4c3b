"""Gives loops the trip limit that TensorRT asks for; tf_keras's recurrent layers come without one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g


class LimitTripsPass(ir.passes.InPlacePass):
    """Sets the missing trip limit of a `Loop` whose condition starts as `Less(first, last)`.

    The condition still ends the loop; a counter that grows by at least one makes `last - first` enough.
    `last` is a constant, or the length of an open axis and `first` zero.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits the loops of the main graph."""
        modified = False
        for node in list(model.graph):
            if node.op_type != "Loop" or node.inputs[0] is not None:
                continue
            limit = next(filter(None, (_limit(node, less) for less in _comparisons(node.inputs[1]))), None)
            if limit is not None:
                node.replace_input_with(0, limit)
                modified = True
        return ir.passes.PassResult(model, modified)


def _comparisons(condition: ir.Value | None) -> Iterator[ir.Node]:
    """Every `Less` that must hold for the condition to hold."""
    node = g.producer(condition, "Less", "And", "Cast", "Identity")
    if node is not None and node.op_type == "Less":
        yield node
    elif node is not None:
        for value in node.inputs:
            yield from _comparisons(value)


def _limit(loop: ir.Node, less: ir.Node) -> ir.Value | None:
    """The number of rounds for which `less` holds."""
    sources = [_source(value) for value in less.inputs]
    first, last = map(g.scalar, sources)
    name = f"{loop.name}/trips"
    if first is not None and last is not None:
        trips = np.array(last - first, np.int64)
        return g.add_constant(loop.graph, trips, name) if last > first else None
    if first != 0 or g.rank(sources[1]) not in (0, None):
        return None
    return g.insert(loop, "Cast", [sources[1]], {"to": ir.DataType.INT64}, dtype=ir.DataType.INT64, name=name)


def _source(value: ir.Value | None) -> ir.Value | None:
    cast = g.producer(value, "Cast")
    return cast.inputs[0] if cast is not None else value
