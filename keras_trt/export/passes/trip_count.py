"""Gives loops the trip limit that TensorRT asks for; tf_keras's recurrent layers come without one."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.export.passes import _graph as g


class LimitTripsPass(ir.passes.InPlacePass):
    """Sets the missing trip limit of a `Loop` whose condition starts as `Less(first, last)` of constants.

    The condition still ends the loop; a counter that grows by at least one makes `last - first` enough.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits the loops of the main graph."""
        modified = False
        for node in list(model.graph):
            if node.op_type != "Loop" or node.inputs[0] is not None:
                continue
            trips = _trips(node.inputs[1])
            if trips is not None:
                limit = g.add_constant(node.graph, np.array(trips, np.int64), f"{node.name}/trips")
                node.replace_input_with(0, limit)
                modified = True
        return ir.passes.PassResult(model, modified)


def _trips(condition: ir.Value | None) -> int | None:
    node = g.producer(condition, "Less", "And", "Cast", "Identity")
    if node is None:
        return None
    if node.op_type != "Less":
        return next((n for n in map(_trips, node.inputs) if n is not None), None)
    first, last = (_number(value) for value in node.inputs)
    return int(last - first) if first is not None and last is not None and last > first else None


def _number(value: ir.Value | None) -> float | None:
    cast = g.producer(value, "Cast")
    return g.scalar(cast.inputs[0] if cast is not None else value)
