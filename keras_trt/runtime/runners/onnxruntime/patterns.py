"""What int8 looks like in a bundle's graph: quantisers, what they may be moved past, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_trt._base.formats import INT8_ENDS
from keras_trt.runtime.runners.onnxruntime.edit import constant, only_reader

if TYPE_CHECKING:
    import onnx_ir


def chain_of(value: onnx_ir.Value) -> tuple[list[onnx_ir.Node], onnx_ir.Node | None]:
    """The monotone functions in front of a quantiser, in their order, and the node in front of them."""
    chain: list[onnx_ir.Node] = []
    while (node := value.producer()) is not None and only_reader(value) is not None:
        clips = node.op_type == "Clip" and all(constant(end) is not None for end in node.inputs[1:] if end)
        pools = node.op_type == "MaxPool" and len(node.outputs) == 1
        if not (node.op_type == "Relu" or clips or pools):
            return chain[::-1], node
        chain.append(node)
        value = node.inputs[0]
    return [], None


def bounds(chain: list[onnx_ir.Node], step: float) -> tuple[int, int]:
    """The smallest and largest int8 that come out of a chain, in steps; rounded as a quantiser rounds."""
    low, high = INT8_ENDS
    for node in chain:
        below, above = _ends(node)
        if below is not None:
            low, high = (max(value, _rounded(below, step)) for value in (low, high))
        if above is not None:
            low, high = (min(value, _rounded(above, step)) for value in (low, high))
    return low, high


def _ends(node: onnx_ir.Node) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What a function cuts off its results at, below and above."""
    if node.op_type == "Relu":
        return np.array(0, np.float32), None
    low, high, *_ = (*map(constant, node.inputs[1:]), None, None) if node.op_type == "Clip" else (None, None)
    return low, high


def _rounded(value: np.ndarray, step: float) -> int:
    return int(np.clip(np.rint(np.float32(value.item()) / np.float32(step)), *INT8_ENDS))


def symmetric_step(node: onnx_ir.Node) -> float | None:
    """The one step with which a node quantises an activation to int8 for dequantisers only; else None."""
    if node.op_type != "QuantizeLinear" or constant(node.inputs[0]) is not None or _zero_of(node) != 0:
        return None
    step, value = constant(node.inputs[1]), node.outputs[0]
    if step is None or step.size != 1 or step.dtype != np.float32 or value.is_graph_output():
        return None
    undone = all(u.node.op_type == "DequantizeLinear" and _zero_of(u.node) == 0 for u in value.uses())
    return float(step.item()) if undone else None


def _zero_of(node: onnx_ir.Node) -> int | None:
    """The int8 zero point of a node that has a single one."""
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return int(zero.reshape(())) if zero is not None and zero.dtype == np.int8 and zero.size == 1 else None


def dequantized(value: onnx_ir.Value) -> tuple[onnx_ir.Value, np.ndarray] | None:
    """(quantised value, step) of an activation dequantised with one step; else None."""
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear" or constant(node.inputs[0]) is not None:
        return None
    step = constant(node.inputs[1])
    return (node.inputs[0], step) if step is not None and step.size == 1 else None


def weight_of(value: onnx_ir.Value) -> tuple[np.ndarray, np.ndarray] | None:
    """(integers, steps that broadcast to them) of a symmetric int8 weight; None for anything else."""
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return None
    integers, steps = constant(node.inputs[0]), constant(node.inputs[1])
    zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if integers is None or steps is None or integers.dtype != np.int8 or steps.dtype != np.float32:
        return None
    if (zero is not None and zero.any()) or "block_size" in node.attributes or steps.ndim > 1:
        return None
    axis = node.attributes["axis"].value if "axis" in node.attributes else 1
    shape = [-1 if i == axis % integers.ndim else 1 for i in range(integers.ndim)]
    return integers, steps.reshape(shape) if steps.ndim else steps
