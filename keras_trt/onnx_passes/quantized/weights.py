"""Writes the weights of quantised ops as int8, fp8 or int4 initializers with a DequantizeLinear.

The trace carries such weights as floats that lie on a grid: `w = q * scale`, for int8 with `scale = max|w| /
127` per output channel (TensorRT's symmetric rule). Folding batch normalisation only changes the scales. So
the quantised values are read back exactly here, in the layout the op wants, and checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from keras_trt.errors import ExportError
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.onnx_passes.quantized.grid import Format, to_grid
from keras_trt.onnx_passes.weight_axes import WEIGHTED, input_axis, output_axis


class QuantizeWeightsPass(ir.passes.InPlacePass):
    """Gives quantised ops quantised weights: an initializer, then a DequantizeLinear.

    Args:
        layers: The paths of all layers, to tell which layer an op belongs to.
        quantized: How many weights of a layer are on a grid, by its path. None: those of every op whose
            activation comes from a DequantizeLinear.
        formats: The formats of layers whose weights are not int8, by path.
    """

    def __init__(
        self,
        layers: Iterable[str] = (),
        quantized: Mapping[str, int] | None = None,
        formats: Mapping[str, Format] | None = None,
    ) -> None:
        super().__init__()
        self.formats = dict(formats or {})
        self.layers = tuple(layers)
        self.quantized = quantized

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once.

        Raises:
            ExportError: A weight is not on its grid, or a quantised layer has no op with a weight.
        """
        reached, off_grid = self._quantize_nodes(model)
        missing = sorted(path for path, n in (self.quantized or {}).items() if reached[path] < n)
        wrong = [off_grid[path] for path in off_grid if self.quantized is None or path in missing]
        if wrong:  # else matrices of the layer's own beside its kernels, which stay float
            raise wrong[0]
        if missing:
            raise ExportError(
                f"The quantised weights of {len(missing)} layers were not found in the ONNX graph, so they "
                f"would run in float: {', '.join(missing[:10])}. Leave them out with "
                f"`quantize_model(model, skip=[{missing[0]!r}])`."
            )
        return ir.passes.PassResult(model, bool(reached))

    def _quantize_nodes(self, model: ir.Model) -> tuple[Counter[str], dict[str, ExportError]]:
        """Walks the graph once; how many weights of each layer were found, and what is off its grid."""
        reached: Counter[str] = Counter()
        off_grid: dict[str, ExportError] = {}
        for node in list(model.graph):
            layer = layer_of(node.name or "", self.layers)
            weight = _float_weight(node) if self._wants(node, layer) else None
            if weight is None:
                continue
            number_format = self.formats.get(layer or "", Format())
            try:
                _quantize(node, weight, layer or node.name or node.op_type, number_format)
                reached[layer or ""] += 1
            except ExportError as e:
                off_grid.setdefault(layer or "", e)
        return reached, off_grid

    def _wants(self, node: ir.Node, layer: str | None) -> bool:
        if node.op_type not in WEIGHTED:
            return False
        if self.quantized is None:
            return g.producer(node.inputs[0], "DequantizeLinear") is not None
        return layer in self.quantized


def _float_weight(node: ir.Node) -> np.ndarray | None:
    weight = g.constant(node.inputs[1])
    if weight is None or not np.issubdtype(weight.dtype, np.floating):
        return None
    return (
        weight.astype(np.float32, copy=False) if node.op_type.startswith("Conv") or weight.ndim == 2 else None
    )


def _quantize(node: ir.Node, weight: np.ndarray, layer: str, number_format: Format) -> None:
    value = node.inputs[1]
    # Blocks run along a matrix's input channels.
    axis = (output_axis if number_format.block is None else input_axis)(node) % weight.ndim
    values, scales = to_grid(weight, axis, layer, number_format)
    name, graph = value.name or f"{node.name}/weight", node.graph
    inputs = [
        g.add_constant(graph, values, f"{name}/{number_format.name}"),
        g.add_constant(graph, scales, f"{name}/scale"),
        g.add_constant(graph, np.zeros(scales.shape, values.dtype), f"{name}/zero_point"),
    ]
    attributes = (
        {"axis": axis} if number_format.block is None else {"axis": axis, "block_size": number_format.block}
    )
    dq = g.insert(
        node,
        "DequantizeLinear",
        inputs,
        attributes,
        dtype=ir.DataType.FLOAT,
        name=f"{node.name}/weight/DQ",
    )
    dq.shape = ir.Shape(weight.shape)
    node.replace_input_with(1, dq)
    if value.is_initializer() and not value.uses():  # its memory can go
        del graph.initializers[value.name]
