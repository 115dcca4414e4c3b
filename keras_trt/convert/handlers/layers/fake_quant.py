"""TensorFlow's own fake quantisation, as the Q/DQ pair that TensorRT computes in int8."""

from __future__ import annotations

import math

import numpy as np

from keras_trt.convert.handlers._nodes import FLOAT, Nodes, replace
from keras_trt.convert.types import Graph, Node

_INT8 = 3  # onnx.TensorProto
_OFFSET = 128  # TensorFlow counts its 8 bits from 0


def fake_quant(ctx: Graph, node: Node, name: str, _: list[object]) -> Node | None:
    """`FakeQuantWithMinMaxArgs` and `-Vars` of 8 bits and constant range, narrow ranges too.

    tf2onnx refuses narrow ranges and writes the others with uint8. The range is nudged as in TensorFlow
    (`fake_quant_ops_functor.h`), in float32, so that 0 lies on the grid. The zero point is 0, as TensorRT
    wants it, for a narrow range with `min = -max` and a full one with `min = -max * 128 / 127`.
    """
    limits = _limits(node)
    if limits is None or node.get_attr_value("num_bits") != 8:
        return node
    first = 1 if node.get_attr_value("narrow_range") else 0
    low, high = (np.float32(limit) for limit in limits)
    scale = (high - low) / np.float32(255 - first)
    zero = min(max(math.floor(first - low / scale + np.float32(0.5)), first), 255)
    source = node.input[0]

    def build(nodes: Nodes) -> str:
        ends = [nodes.const((end - zero) * scale, np.float32) for end in (first, 255)] if first else []
        clipped = nodes("Clip", source, *ends, dtype=FLOAT) if first else source
        grid = nodes.const(scale, np.float32), nodes.const(zero - _OFFSET, np.int8)
        integers = nodes("QuantizeLinear", clipped, *grid, dtype=_INT8)
        return nodes("DequantizeLinear", integers, *grid, dtype=FLOAT)

    return replace(ctx, node, name, build)


def _limits(node: Node) -> tuple[float, float] | None:
    """(min, max); None when they are not known before the engine runs."""
    if node.type == "FakeQuantWithMinMaxArgs":
        return node.get_attr_value("min"), node.get_attr_value("max")
    if not all(value.is_const() for value in node.inputs[1:3]):
        return None
    low, high = (float(np.asarray(value.get_tensor_value())) for value in node.inputs[1:3])
    return low, high
