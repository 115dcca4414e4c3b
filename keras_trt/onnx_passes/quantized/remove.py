"""Takes the rounding out of a quantised graph: what is left is the float graph that it stands for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt.onnx_passes import _graph as g


class RemoveQuantizersPass(ir.passes.InPlacePass):
    """Lets activations pass unrounded, and turns quantised weights into the floats that they stand for.

    Activations are not cut off at the ends of their ranges any more, either. A tensor that is quantised in
    one float type and dequantised in another is cast.

    Args:
        weights: Whether weights, too, become floats; else they stay as they are, and are not read.
    """

    def __init__(self, *, weights: bool = True) -> None:
        super().__init__()
        self.weights = weights

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the main graph once, in its order."""
        removed = False
        for node in list(model.graph):
            if node.op_type not in g.QUANTIZERS:
                continue
            value = g.given(node.inputs[0])
            if node.op_type == "QuantizeLinear":
                _retype(node.outputs[0], value.dtype)
            elif g.constant_shape(value) is not None:
                if not self.weights:
                    continue
                value = _floats(node)
            _pass_by(node, value)
            removed = True
        for value in list(model.graph.initializers.values()):
            if removed and not (value.uses() or value.is_graph_output()):
                del model.graph.initializers[value.name or ""]
        return ir.passes.PassResult(model, removed)


def _retype(quantized: ir.Value, dtype: ir.DataType | None) -> None:
    """Gives the float type to what moves quantised values about, up to where they are dequantised."""
    movers = [node for node in quantized.consumers() if node.op_type not in g.QUANTIZERS]
    for output in (output for node in movers for output in node.outputs):
        if dtype is not None and output.dtype == quantized.dtype:
            _retype(output, dtype)
            output.type = ir.TensorType(dtype)


def _pass_by(node: ir.Node, value: ir.Value) -> None:
    """Gives the readers of a quantiser's output a value in its place, in their float type."""
    output = node.outputs[0]
    dtype = output.dtype if node.op_type == "DequantizeLinear" else value.dtype
    if None not in (dtype, value.dtype) and dtype != value.dtype:
        value = g.insert(node, "Cast", [value], {"to": dtype}, like=output, name=f"{node.name}/Cast")
    elif output.is_graph_output():  # the value keeps its own name
        value = g.insert(node, "Identity", [value], like=output, name=f"{node.name}/Identity")
    g.replace(node, value)


def _floats(node: ir.Node) -> ir.Value:
    """What a DequantizeLinear makes of a constant, with scales per tensor, per channel, or per block."""
    source = g.given(node.inputs[0])
    values, scale = g.given(g.constant(source)), g.given(g.constant(node.inputs[1]))
    axis, block = g.integer(node, "axis", 1) % max(values.ndim, 1), g.integer(node, "block_size", 0)
    steps = scale.astype(np.float32)
    if block:
        steps = np.repeat(steps, block, axis)
    elif scale.ndim:
        steps = steps.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    made = g.add_constant(
        g.given(node.graph), (values.astype(np.float32) * steps).astype(scale.dtype), f"{source.name}/float"
    )
    made.type, made.shape = ir.TensorType(ir.DataType.from_numpy(scale.dtype)), ir.Shape(values.shape)
    return made
