"""Lets recurrent operators run backwards themselves, where the graph turns their sequences around."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g

_RECURRENT = ("LSTM", "GRU", "RNN")


class RunBackwardsPass(ir.passes.InPlacePass):
    """`reverse -> LSTM -> reverse` becomes an LSTM with direction `reverse`, as Bidirectional layers need it.

    The second reversal may be missing where only the last state is read. Lengths must be known.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits the recurrent operators of the main graph."""
        modified = False
        for node in list(model.graph):
            if node.op_type in _RECURRENT and "direction" in node.attributes:
                modified = _turn(node) or modified
        return ir.passes.PassResult(model, modified)


def _turn(node: ir.Node) -> bool:
    before = g.producer(node.inputs[0], "ReverseSequence")
    forward = node.attributes["direction"].as_string() == "forward"
    if before is None or not forward or not _is_whole(before):
        return False
    behind = _reversals(node.outputs[0])
    if behind is None:
        return False
    node.attributes["direction"] = ir.AttrString("direction", "reverse")
    node.replace_input_with(0, before.inputs[0])
    for reversal in behind:
        g.replace(reversal, reversal.inputs[0])
    return True


def _reversals(sequence: ir.Value) -> list[ir.Node] | None:
    """The reversals that read a recurrent operator's sequence, behind its Squeeze; None if others do too."""
    reversals: list[ir.Node] = []
    if sequence.is_graph_output():
        return None
    for squeeze, _ in sequence.uses():
        if squeeze.op_type != "Squeeze" or squeeze.outputs[0].is_graph_output():
            return None
        reversals += [reader for reader, _ in squeeze.outputs[0].uses() if not _measures(reader)]
    outputs_fit = len(reversals) == 1 or not any(n.outputs[0].is_graph_output() for n in reversals)
    return reversals if outputs_fit and all(map(_is_whole, reversals)) else None


def _measures(node: ir.Node) -> bool:
    """Whether nothing but the size of what the node reads matters."""
    if node.op_type == "Transpose" and not node.outputs[0].is_graph_output():
        return all(_measures(reader) for reader, _ in node.outputs[0].uses())
    return node.op_type == "Shape"


def _is_whole(node: ir.Node) -> bool:
    """Whether a node reverses the steps, axis 0, of sequences (steps, batch, size) in their whole length."""
    if node.op_type != "ReverseSequence" or g.integer(node, "time_axis", 0) != 0:
        return False
    steps = node.inputs[0].shape[0] if node.inputs[0].shape is not None else None
    spread = g.producer(node.inputs[1], "Expand")
    length = None if spread is None else g.producer(spread.inputs[0], "Gather")
    shape = None if length is None else g.producer(length.inputs[0], "Shape")
    axis = None if length is None else g.scalar(length.inputs[1])
    if shape is None or axis is None or shape.inputs[0] is None or shape.inputs[0].shape is None:
        return False
    size = shape.inputs[0].shape[int(axis)]
    return isinstance(steps, int) and size == steps
