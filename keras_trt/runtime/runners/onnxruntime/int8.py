"""Rewrites an int8 graph, as it is loaded, into the patterns that ONNX Runtime has int8 kernels for.

A bundle places int8 as TensorRT wants it: signed, with a product's activation and a residual sum before the
next quantiser. ONNX Runtime fuses only a quantiser right behind a product, and its kernels take uint8.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.formats import INT8_ENDS
from keras_trt.runtime.runners.onnxruntime.edit import Editor, constant, only_reader
from keras_trt.runtime.runners.onnxruntime.patterns import (
    bounds,
    chain_of,
    dequantized,
    symmetric_step,
    weight_of,
)

if TYPE_CHECKING:
    import onnx_ir

_SHIFT = 128
"""Between int8 and the uint8 that stands for it: the same numbers, the same saturation."""

_COARSEST = 2.0
"""The largest step, in steps of the quantiser behind, at which a value is rounded that the graph leaves."""

_LARGEST_BIAS = 2.0**30
"""A larger one could leave int32 together with the product's sum."""

_SIGMOID_STEP = np.float32(1 / 256)


def fuse(model: onnx_ir.Model, ir: ModuleType) -> int:
    """Makes ONNX Runtime compute convolutions in uint8, in place.

    Rounding stays where the graph has it, with two additions: a bias becomes a whole number of the product's
    own small steps, and the product in front of a residual sum or a swish is rounded, at a step fine enough
    and over the range beyond which the next quantiser cuts off.

    Args:
        model: An `onnx_ir.Model`, of float32 beside int8.
        ir: The module.

    Returns:
        How many convolutions will compute in int8.
    """
    rewriter = _Rewriter(Editor(model.graph, ir))
    steps = {node: symmetric_step(node) for node in model.graph}
    for quantize, step in steps.items():
        if step is not None:
            rewriter.fuse(quantize, step)
    rewriter.shift()
    rewriter.fold_weights()
    rewriter.edit.tidy()
    return len(rewriter.fused)


class _Rewriter:
    def __init__(self, edit: Editor) -> None:
        self.edit = edit
        self.fused: set[Any] = set()
        self.zero = edit.constant("zero_point", np.array(_SHIFT, np.uint8))
        self._ranges: dict[Any, tuple[float, float]] = {}

    def fuse(self, quantize: onnx_ir.Node, step: float) -> None:
        """Brings a quantiser right behind the convolution that it rounds."""
        chain, source = chain_of(quantize.inputs[0])
        if source is None:
            return
        low, high = bounds(chain, step)
        fits = (
            (source.op_type == "Conv" and self._whole_bias(source))
            or (source.op_type == "Add" and self._round_term(source, step, low * step, high * step))
            or (source.op_type == "Mul" and not chain and self._round_gated(source, step))
        )
        if fits and chain:
            moved = self._move(quantize, chain, source.outputs[0], step)
            self._ranges[moved] = (low * step, high * step)

    def shift(self) -> None:
        """Makes uint8 of int8 activations, with the zero point that keeps every number."""
        for node in [node for node in self.edit.graph if symmetric_step(node) is not None]:
            for each in (node, *(use.node for use in node.outputs[0].uses())):
                each.replace_input_with(2, self.zero)
            self.edit.retype(node.outputs[0], "UINT8")

    def fold_weights(self) -> None:
        """Makes float weights of int8 ones whose product stays float: ONNX Runtime would at every call."""
        folded: dict[Any, Any] = {}
        for node in list(self.edit.graph):
            if node.op_type not in ("Conv", "ConvTranspose") or node in self.fused:
                continue
            weight = weight_of(node.inputs[1])
            if weight is not None:
                source = node.inputs[1]
                if source not in folded:
                    integers, steps = weight
                    folded[source] = self.edit.constant("weight", integers.astype(np.float32) * steps)
                node.replace_input_with(1, folded[source])

    def _whole_bias(self, conv: onnx_ir.Node) -> bool:
        """Whether a convolution can compute in int8; its bias is then whole steps of the product."""
        if conv in self.fused:
            return True
        activation, weight = dequantized(conv.inputs[0]), weight_of(conv.inputs[1])
        if activation is None or weight is None:
            return False
        bias = conv.inputs[2] if len(conv.inputs) > 2 else None
        if bias is not None:
            values = constant(bias)
            steps = (float(activation[1]) * weight[1].astype(np.float64)).reshape(-1).astype(np.float32)
            if (
                values is None
                or np.abs(whole := np.rint(values / steps.astype(np.float64))).max() > _LARGEST_BIAS
            ):
                return False
            steps = np.broadcast_to(steps, values.shape).copy()
            inputs = [whole.astype(np.int32), steps, np.zeros(values.shape, np.int32)]
            conv.replace_input_with(2, self.edit.before(conv, "DequantizeLinear", inputs, {"axis": 0}))
        self.fused.add(conv)
        return True

    def _round_term(self, add: onnx_ir.Node, step: float, low: float, high: float) -> bool:
        """Whether a sum is of a convolution and something quantised; the convolution is then rounded."""
        known = [dequantized(value) for value in add.inputs]
        if (known[0] is None) == (known[1] is None):
            return known[0] is not None  # both rounded: fuses as it is
        which = 0 if known[0] is None else 1
        conv, other = add.inputs[which].producer(), known[1 - which]
        if conv is None or conv.op_type != "Conv" or only_reader(add.inputs[which]) is None or other is None:
            return False
        ends = self._ranges.get(other[0], tuple(end * float(other[1]) for end in INT8_ENDS))
        # Beyond these ends, whatever the other term is, the sum is cut off by the next quantiser.
        return self._round(conv, [(add, which)], low - ends[1], high - ends[0] + step / 2, step)

    def _round_gated(self, multiply: onnx_ir.Node, step: float) -> bool:
        """Whether a product is x * sigmoid(x) of a convolution; both factors are then rounded."""
        for i, gate in enumerate(multiply.inputs):
            x, sigmoid = multiply.inputs[1 - i], gate.producer()
            if sigmoid is None or sigmoid.op_type != "Sigmoid" or sigmoid.inputs[0] is not x:
                continue
            conv = x.producer()
            if conv is None or conv.op_type != "Conv" or len(x.uses()) != 2 or only_reader(gate) is None:
                return False
            low = 1.28  # where swish is lowest; below -low it rounds to zero
            while low / (1 + np.exp(low)) > step / 2:
                low *= 1.05
            if not self._round(conv, [(sigmoid, 0), (multiply, 1 - i)], -low, 128 * step, step):
                return False
            rounded = self.edit.pair(multiply, gate, _SIGMOID_STEP, np.uint8(0))
            multiply.replace_input_with(i, rounded)
            return True
        return False

    def _round(
        self,
        conv: onnx_ir.Node,
        readers: list[tuple[onnx_ir.Node, int]],
        low: float,
        high: float,
        behind: float,
    ) -> bool:
        """Whether a convolution's result may be rounded between these ends, for a quantiser of that step."""
        step = np.float32((high - low) / 255)
        if step > _COARSEST * behind or not self._whole_bias(conv):
            return False
        zero = np.uint8(np.clip(np.rint(-low / step), 0, 255))
        rounded = self.edit.pair(readers[0][0], conv.outputs[0], step, zero)
        for node, index in readers:
            node.replace_input_with(index, rounded)
        return True

    def _move(
        self, quantize: onnx_ir.Node, chain: list[onnx_ir.Node], source: onnx_ir.Value, step: float
    ) -> onnx_ir.Value:
        """Quantises in front of a chain of monotone functions, which compute in uint8; the last's output."""
        inputs = [source, quantize.inputs[1], self.zero]
        value = self.edit.before(quantize, "QuantizeLinear", inputs)
        self.edit.retype(value, "UINT8")
        for node in chain:
            if node.op_type == "MaxPool":
                value = self.edit.before(quantize, "MaxPool", [value], dict(node.attributes))
                continue
            low, high = (np.uint8(end + _SHIFT) for end in bounds([node], step))
            if (low, high) != (0, 255):
                value = self.edit.before(quantize, "Clip", [value, np.array(low), np.array(high)])
        quantize.outputs[0].replace_all_uses_with(value)
        for use in value.uses():
            use.node.replace_input_with(2, self.zero)
        return value
