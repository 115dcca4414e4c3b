"""Gives each output of a loop's or branch's body a node of its own."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt.onnx_passes.order import bodies


class SeparateBodyOutputsPass(ir.passes.InPlacePass):
    """Puts an Identity behind every body output that repeats another, or that the body does not compute.

    Recurrent layers return their state as the output of a step too, and hand constants through. OpenVINO
    2026.4 counts the tensors of such a loop wrongly, and ONNX forbids a branch that returns what was computed
    outside. Run it after passes that drop an Identity.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Visits loops and branches, those inside others too."""
        modified = False
        for node in model.graph.all_nodes():
            for body in bodies(node):
                modified = _separate(body) or modified
        return ir.passes.PassResult(model, modified)


def _separate(body: ir.Graph) -> bool:
    inside, seen, modified = set(body), set(), False
    for index, value in enumerate(list(body.outputs)):
        if value in seen or value.producer() not in inside:
            node = ir.node("Identity", [value], name=f"{value.name}/output_{index}")
            copy = node.outputs[0]
            copy.name, copy.type = f"{value.name}/output_{index}", value.type
            copy.shape = None if value.shape is None else ir.Shape(value.shape)
            body.append(node)
            body.outputs[index] = copy
            modified = True
        seen.add(value)
    return modified
