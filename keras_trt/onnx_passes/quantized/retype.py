"""Turns the activation quantisers of fp8 layers, which the trace writes as int8 of their scale, into fp8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from keras_trt.errors import ExportError
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.onnx_passes.quantized.grid import DTYPES

OPSETS = {"int8": 17, "fp8": 19, "int4": 21}
"""The first opset with each format."""


class RetypeQuantizersPass(ir.passes.InPlacePass):
    """Gives the Q/DQ pairs of layers in fp8 the type E4M3; their scale, `amax / 448`, is right already.

    Args:
        layers: The paths of all layers, to tell which layer a quantiser belongs to.
        formats: The format of each layer's activations, by path; int8 where none is given.
    """

    def __init__(self, layers: Iterable[str], formats: Mapping[str, str]) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.formats = dict(formats)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once.

        Raises:
            ExportError: Layers of different formats read one quantised tensor.
        """
        changed = False
        for node in list(model.graph):
            if node.op_type != "QuantizeLinear" or g.scalar(node.inputs[1]) is None:
                continue
            readers = [use.node for use in node.outputs[0].uses()]
            owners = {layer_of(n.name or "", self.layers) or "" for n in (node, *readers)}
            formats = {self.formats.get(owner, "int8") for owner in owners}
            if len(formats) > 1:
                raise ExportError(
                    f"Layers {', '.join(sorted(owners))} read one tensor in different formats "
                    f"({', '.join(sorted(formats))}). Give them one scheme."
                )
            if formats == {"fp8"}:
                _retype(node, readers)
                changed = True
        return ir.passes.PassResult(model, changed)


def _retype(quantize: ir.Node, dequantizers: list[ir.Node]) -> None:
    name, graph = quantize.name, quantize.graph
    zero = g.add_constant(graph, np.zeros((), DTYPES["fp8"]), f"{name}/fp8_zero_point")
    for node in (quantize, *dequantizers):
        node.replace_input_with(2, zero)
    quantize.outputs[0].type = ir.TensorType(ir.DataType.FLOAT8E4M3FN)
