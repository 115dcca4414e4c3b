"""Writes the weights of quantised ops as int8 initializers with a DequantizeLinear.

The trace carries such weights as floats that lie on an int8 grid: `w = q * scale`, `scale = max|w| / 127`
per output channel (TensorRT's symmetric rule). Folding batch normalisation only changes the scales. So the
integers are read back exactly here, in the layout the op wants, and checked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from keras_trt.errors import ExportError
from keras_trt.export.passes import _graph as g
from keras_trt.export.passes.naming import layer_of
from keras_trt.export.passes.qdq import WEIGHTED

_TOLERANCE = 0.02
"""Largest distance from the grid, in steps. Float32 rounding moves a weight by about 1e-5 steps."""


def channel_axis(node: ir.Node) -> int:
    """The axis of the output channels in an op's weight, which is DequantizeLinear's `axis`."""
    if node.op_type == "Gemm":
        return 0 if g.integer(node, "transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op_type]


class QuantizeWeightsPass(ir.passes.InPlacePass):
    """Gives quantised ops int8 weights: an int8 initializer, then a DequantizeLinear per output channel.

    Args:
        layers: The paths of all layers, to tell which layer an op belongs to.
        quantized: How many weights of a layer are on a grid, by its path. None: those of every op whose
            activation comes from a DequantizeLinear.
    """

    def __init__(self, layers: Iterable[str] = (), quantized: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.quantized = quantized

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Walks the graph once.

        Raises:
            ExportError: A weight is not on an int8 grid, or a quantised layer has no op with a weight.
        """
        reached: Counter[str] = Counter()
        for node in list(model.graph):
            weight = _float_weight(node) if node.op_type in WEIGHTED else None
            if weight is None:
                continue
            layer = layer_of(node.name or "", self.layers)
            if self.quantized is None:
                wanted = g.producer(node.inputs[0], "DequantizeLinear") is not None
            else:
                wanted = layer in self.quantized
            if wanted:
                _quantize(node, weight, layer or node.name or node.op_type)
                reached[layer or ""] += 1
        missing = sorted(path for path, n in (self.quantized or {}).items() if reached[path] < n)
        if missing:
            raise ExportError(
                f"The quantised weights of {len(missing)} layers were not found in the ONNX graph, so they "
                f"would run in float: {', '.join(missing[:10])}. Leave them out with "
                f"`quantize_model(model, skip=[{missing[0]!r}])`."
            )
        return ir.passes.PassResult(model, bool(reached))


def _float_weight(node: ir.Node) -> np.ndarray | None:
    weight = g.constant(node.inputs[1])
    if weight is None or not np.issubdtype(weight.dtype, np.floating):
        return None
    return weight.astype(np.float32) if node.op_type.startswith("Conv") or weight.ndim == 2 else None


def _quantize(node: ir.Node, weight: np.ndarray, layer: str) -> None:
    value = node.inputs[1]
    axis = channel_axis(node)
    integers, scales = to_grid(weight, axis, layer)
    name, graph = value.name or f"{node.name}/weight", node.graph
    inputs = [
        g.add_constant(graph, integers, f"{name}/int8"),
        g.add_constant(graph, scales, f"{name}/scale"),
        g.add_constant(graph, np.zeros(scales.shape, np.int8), f"{name}/zero_point"),
    ]
    dq = g.insert(
        node,
        "DequantizeLinear",
        inputs,
        {"axis": axis},
        dtype=ir.DataType.FLOAT,
        name=f"{node.name}/weight/DQ",
    )
    dq.shape = ir.Shape(weight.shape)
    node.replace_input_with(1, dq)


def to_grid(weight: np.ndarray, axis: int, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scales of a weight that lies on an int8 grid.

    Args:
        weight: Float32.
        axis: Of the output channels.
        layer: For the error.

    Returns:
        int8 of the weight's shape, and float32 scales > 0, one per channel. A channel of zeros gets the
        smallest scale of the others (TensorRT refuses a scale of 0).

    Raises:
        ExportError: The weight is not on the grid.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scales = np.abs(weight).max(axis=others).astype(np.float64) / 127
    alive = scales > 0
    scales[~alive] = scales[alive].min() if alive.any() else 1 / 127
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    steps = weight / scales.reshape(shape)
    integers = np.rint(steps)
    distance = float(np.abs(steps - integers).max(initial=0.0))
    if not distance <= _TOLERANCE:
        raise ExportError(
            f"The weights of layer {layer!r} are not on an int8 grid (up to {distance:.2g} steps away), so "
            "writing them as int8 would change the model. This happens when a custom layer changes its "
            "quantised kernel before using it. Leave the layer float: "
            f"quantize_model(model, skip=[{layer!r}])."
        )
    return integers.astype(np.int8), scales.astype(np.float32)
