"""Checks of a finished graph; each says which Keras layer is at fault and what to do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from keras_trt.errors import ExportError
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.naming import layer_of
from keras_trt.onnx_passes.quantized.grid import TOP
from keras_trt.quantize.inventory import QuantizedTensor


def check_graph(
    model: ir.Model, layers: Iterable[str], inventory: Iterable[QuantizedTensor] | None = None
) -> None:
    """Makes sure that TensorRT can take a finished graph.

    Args:
        model: The graph after all passes.
        layers: The paths of all Keras layers.
        inventory: What the Keras model says is quantised, when it can say.

    Raises:
        ExportError: A foreign operator, a wrong scale or zero point, a lost quantiser, or an invalid graph.
    """
    layers = tuple(layers)
    _check_operators(model, layers)
    scales = _check_quantizers(model, layers)
    lost = [
        t
        for t in inventory or ()
        if t.kind == "activation"
        and t.amax
        and not any(np.isclose(t.amax / TOP[t.format], s, rtol=5e-3) for s in scales)
    ]
    if lost:
        raise ExportError(
            f"The activation quantiser of layer {lost[0].layer!r} ({len(lost)} in all) did not reach the "
            "ONNX graph, so the engine would compute it in float. Leave the layer out with "
            f"`quantize_model(model, skip=[{lost[0].layer!r}])`."
        )
    try:
        common.CheckerPass(full_check=True)(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportError(f"The exported graph of model {model.graph.name!r} is not valid ONNX: {e}") from e


def check_scales(model: onnx.ModelProto, layers: Iterable[str], inventory: Iterable[QuantizedTensor]) -> None:
    """Makes sure that every activation scale in a written file belongs to a range of the Keras model.

    A range that is too wide changes the numbers of a probe batch by no more than rounding does.

    Raises:
        ExportError: A scale is none of the model's.
    """
    known = [t.amax / TOP[t.format] for t in inventory if t.kind == "activation" and t.amax]
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[1] not in arrays:
            continue
        scale = onnx.numpy_helper.to_array(arrays[node.input[1]]).astype(np.float32)
        if scale.size == 1 and not np.isclose(scale.reshape(()), known, rtol=5e-3).any():
            layer = layer_of(node.name, tuple(layers)) or node.name
            raise ExportError(
                f"Layer {layer!r}: the exported file rounds its input with a scale that is no range of the "
                f"Keras model's. Received: {float(scale.reshape(())):.6g} in node {node.name!r}."
            )


_FIXED = "It can be converted for a fixed {}: pass it in `input_shapes`, or build the model with it."
_OTHERWISE = (
    "Rewrite the layer with other operations, or leave it out of the exported model and run it beside the "
    "engine."
)
_ADVICE = {
    **dict.fromkeys(("ResizeArea", "ScaleAndTranslate"), _FIXED.format("height and width")),
    **dict.fromkeys(("Bincount", "DenseBincount"), _FIXED.format("number of bins")),
    "_SwitchN": "Choose with `keras.ops.switch` (Keras 3), or with one `tf.cond` inside another.",
    "SparseCross": "Run the layer before the model, e.g. with `dataset.map(layer)`.",
    **dict.fromkeys(("RFFT", "IRFFT"), _FIXED.format("length")),
}
"""By operator what to do where no handler could convert it."""


def _check_operators(model: ir.Model, layers: tuple[str, ...]) -> None:
    opset = model.opset_imports[""]
    for node in model.graph.all_nodes():
        known = not node.domain and onnx.defs.has(node.op_type, opset)
        if not known:
            layer = layer_of(node.name or "", layers)
            where = f"layer {layer!r}" if layer else f"model {model.graph.name!r} (node {node.name!r})"
            raise ExportError(
                f"{where[0].upper()}{where[1:]} uses the TensorFlow operator `{node.op_type}`, which ONNX "
                f"opset {opset} does not have. {_ADVICE.get(node.op_type, _OTHERWISE)}"
            )


def _check_quantizers(model: ir.Model, layers: tuple[str, ...]) -> list[float]:
    """Checks every Q and DQ; returns the per-tensor scales."""
    scales: list[float] = []
    for node in model.graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        layer = layer_of(node.name or "", layers) or node.name
        scale = g.constant(node.inputs[1])
        zero_point = g.constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if scale is None or zero_point is None:
            raise ExportError(f"Layer {layer!r}: the scale or zero point of `{node.name}` is not a constant.")
        numbers = scale.astype(np.float32)
        if not (np.isfinite(numbers).all() and (numbers > 0).all()):
            raise ExportError(
                f"Layer {layer!r}: `{node.name}` has a scale that is not positive; TensorRT refuses that. "
                f"Received: {numbers.min()}. Calibrate the model on data that is not all zeros."
            )
        if np.any(zero_point.astype(np.float32)) or zero_point.dtype == np.uint8:
            raise ExportError(
                f"Layer {layer!r}: `{node.name}` is quantised asymmetrically (zero point "
                f"{zero_point.reshape(-1)[0]}, {zero_point.dtype}); TensorRT takes int8 with zero point 0."
            )
        if numbers.size == 1:
            scales.append(float(numbers.reshape(())))
    return scales
