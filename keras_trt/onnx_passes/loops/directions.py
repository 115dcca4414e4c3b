"""Lets recurrent operators run backwards themselves, where the graph turns their sequences around."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g


class RunBackwardsPass(ir.passes.InPlacePass):
    """`reverse -> LSTM -> reverse` becomes an LSTM with direction `reverse`, as Bidirectional layers need it.

    The second reversal may be missing where only the last state is read.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits the recurrent operators of the main graph."""
        modified = False
        for node in list(model.graph):
            if node.op_type in g.RECURRENT and "direction" in node.attributes:
                modified = _turn(node) or modified
        return ir.passes.PassResult(model, modified)


def _turn(node: ir.Node) -> bool:
    transpose = g.producer(node.inputs[0], "Transpose")
    axis = 0 if transpose is None else g.given(g.ints(transpose, "perm"))[0]
    before = g.producer(node.inputs[0] if transpose is None else transpose.inputs[0], "Slice")
    forward = node.attributes["direction"].as_string() == "forward"
    if before is None or not forward or not _reverses(before, axis):
        return False
    behind = _reversals(node.outputs[0])
    if behind is None:
        return False
    node.attributes["direction"] = ir.AttrString("direction", "reverse")
    x = before.inputs[0]
    if transpose is not None:
        options = {"like": transpose.outputs[0], "name": f"{node.name}/Transpose"}
        x = g.insert(node, "Transpose", [x], dict(transpose.attributes), **options)
    node.replace_input_with(0, x)
    for reversal in behind:
        g.replace(reversal, reversal.inputs[0])
    return True


def _reversals(sequence: ir.Value) -> list[ir.Node] | None:
    """The reversals that read a recurrent operator's sequence, behind its Squeeze; None if others do too."""
    reversals: list[ir.Node] = []
    if sequence.is_graph_output():
        return None
    for squeeze, _ in sequence.uses():
        readers = _reversing(squeeze.outputs[0], 0) if squeeze.op_type == "Squeeze" else None
        if readers is None:
            return None
        reversals += readers
    return (
        reversals
        if len(reversals) == 1 or not any(n.outputs[0].is_graph_output() for n in reversals)
        else None
    )


def _reversing(value: ir.Value, axis: int) -> list[ir.Node] | None:
    """The nodes that read a tensor, also behind a Transpose, when all reverse this axis."""
    reversals: list[ir.Node] = []
    if value.is_graph_output():
        return None
    for reader, _ in value.uses():
        if _reverses(reader, axis):
            reversals.append(reader)
        elif not _measures(reader):
            moved = g.given(g.ints(reader, "perm")).index(axis) if reader.op_type == "Transpose" else None
            behind = None if moved is None else _reversing(reader.outputs[0], moved)
            if behind is None:
                return None
            reversals += behind
    return reversals


def _measures(node: ir.Node) -> bool:
    """Whether nothing but the size of what the node reads matters."""
    if node.op_type == "Transpose" and not node.outputs[0].is_graph_output():
        return all(_measures(reader) for reader, _ in node.outputs[0].uses())
    return node.op_type == "Shape"


def _reverses(node: ir.Node, axis: int) -> bool:
    """Whether a node turns the whole of one axis around."""
    if node.op_type != "Slice" or len(node.inputs) < 5:
        return False
    start, end, axes, step = (g.scalar(value) for value in node.inputs[1:])
    return (start, axes, step) == (-1, axis, -1) and end is not None and end <= np.iinfo(np.int32).min
