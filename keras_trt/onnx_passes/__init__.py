"""What happens to a graph between tf2onnx and TensorRT: one file a pass, run in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes import common

from keras_trt.errors import ExportError
from keras_trt.onnx_passes.cast_floats import MIN_OPSET, CastFloatsPass
from keras_trt.onnx_passes.folding.activations import ActivationsPass
from keras_trt.onnx_passes.folding.fold_affine import FoldAffinePass
from keras_trt.onnx_passes.folding.fold_pad import FoldPadPass
from keras_trt.onnx_passes.folding.group_normalization import GroupNormalizationPass
from keras_trt.onnx_passes.folding.layer_normalization import LayerNormalizationPass, RMSNormalizationPass
from keras_trt.onnx_passes.folding.zero_convolutions import ZeroConvolutionsPass
from keras_trt.onnx_passes.layout.layout import RemoveTransposesPass
from keras_trt.onnx_passes.layout.products import MultiplyManyAxesPass
from keras_trt.onnx_passes.layout.regions import MoveRegionsPass
from keras_trt.onnx_passes.layout.transposed_pads import ExplicitPadsPass
from keras_trt.onnx_passes.layout.upsampling import RepeatsToResizePass
from keras_trt.onnx_passes.loops.body_outputs import SeparateBodyOutputsPass
from keras_trt.onnx_passes.loops.directions import RunBackwardsPass
from keras_trt.onnx_passes.loops.trip_count import LimitTripsPass
from keras_trt.onnx_passes.naming import NameNodesPass
from keras_trt.onnx_passes.opset import RaiseOpsetPass
from keras_trt.onnx_passes.order import OrderNodesPass
from keras_trt.onnx_passes.outputs import SeparateOutputsPass
from keras_trt.onnx_passes.quantized.grid import Format
from keras_trt.onnx_passes.quantized.qdq import HoistLayoutPass, RepeatQuantizersPass
from keras_trt.onnx_passes.quantized.repeated import DropRepeatedPairsPass
from keras_trt.onnx_passes.quantized.retype import OPSETS, RetypeQuantizersPass
from keras_trt.onnx_passes.quantized.weights import QuantizeWeightsPass
from keras_trt.onnx_passes.share_constants import ShareConstantsPass
from keras_trt.onnx_passes.simplify import SimplifyPass
from keras_trt.onnx_passes.tensor_names import NameTensorsPass


def run_passes(
    model: ir.Model,
    layers: Iterable[str],
    *,
    opset: int,
    quantized: Mapping[str, int] | None = None,
    weights: Mapping[str, Format] | None = None,
    activations: Mapping[str, str] | None = None,
    floats: str = "float32",
    keep_float32: Iterable[str] = (),
    find_overflow: Callable[[ir.Model], Mapping[str, str]] | None = None,
) -> dict[str, str]:
    """Runs every pass on a freshly converted model, in place.

    Args:
        model: What `convert` returned.
        layers: The paths of all Keras layers.
        opset: The opset asked for; raised when `floats` needs a newer one.
        quantized: How many quantised weights each layer has, by path; None when the model cannot say.
        weights: The weight formats of layers that are not int8, by path.
        activations: The activation formats of layers that are not int8, by path.
        floats: The type of the float part: `"float32"`, `"fp16"` or `"bf16"`.
        keep_float32: The paths of layers that compute in float32 anyway.
        find_overflow: Asked with the float32 graph which layers float16 cannot hold, and why.

    Returns:
        Why nodes stayed in float32 although another type was asked for, by node name.

    Raises:
        ExportError: A pass failed or found a weight that cannot be int8.
    """
    try:
        formats = _Formats(quantized, weights or {}, activations or {})
        return _run(model, tuple(layers), opset, formats, floats, keep_float32, find_overflow)
    except ir.passes.PassError as e:
        cause: BaseException = e
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ExportError(
            f"The ONNX graph of model {model.graph.name!r} could not be prepared for TensorRT: {cause}"
        ) from e


class _Formats(NamedTuple):
    quantized: Mapping[str, int] | None
    weights: Mapping[str, Format]
    activations: Mapping[str, str]


def _run(
    model: ir.Model,
    layers: tuple[str, ...],
    opset: int,
    formats: _Formats,
    floats: str,
    keep_float32: Iterable[str],
    find_overflow: Callable[[ir.Model], Mapping[str, str]] | None,
) -> dict[str, str]:
    outputs = {v.name or "": None if v.shape is None else tuple(v.shape) for v in model.graph.outputs}
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    OrderNodesPass()(model)
    NameNodesPass(layers)(model)
    ExplicitPadsPass()(model)  # negative pads stop shape inference
    common.ShapeInferencePass()(model)
    _rewrite(layers, formats)(model)
    LayerNormalizationPass()(model)  # where layouts have settled
    common.RemoveUnusedNodesPass()(model)
    QuantizeWeightsPass(layers, formats.quantized, formats.weights)(model)
    if formats.activations:
        RetypeQuantizersPass(layers, formats.activations)(model)
    used = [MIN_OPSET[floats], *(OPSETS[weight_format.name] for weight_format in formats.weights.values())]
    RaiseOpsetPass(max(opset, *used))(model)
    _WHOLE(model)
    in_float32: Mapping[str, str] = {}
    if floats != "float32":
        common.ShapeInferencePass()(model)  # every tensor's type must be known
        overflowing = find_overflow(model) if floats == "fp16" and find_overflow is not None else {}
        in_float32 = CastFloatsPass(floats, layers, keep_float32, overflowing)(model).in_float32
    _FINISH(model)
    SeparateOutputsPass(outputs)(model)
    _NAME(model)
    return dict(in_float32)


def _rewrite(layers: tuple[str, ...], formats: _Formats) -> ir.passes.PassManager:
    matrices = [path for path, form in formats.weights.items() if form.block is not None]
    steps: list[ir.passes.PassBase] = [
        common.IdentityEliminationPass(),
        SeparateBodyOutputsPass(),  # what only a body returns counts as unused
        SimplifyPass(),
        ZeroConvolutionsPass(layers, formats.quantized),
        LimitTripsPass(),
        RunBackwardsPass(),
        ExplicitPadsPass(),
        FoldAffinePass(),
        RepeatsToResizePass(),
        MultiplyManyAxesPass(),
        MoveRegionsPass(layers, matrices),
        SimplifyPass(),  # Transposes meet at the borders of what was moved
        RemoveTransposesPass(),
        HoistLayoutPass(),
        DropRepeatedPairsPass(),
        FoldPadPass(),
        RepeatQuantizersPass(),
        ShareConstantsPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
    ]
    return ir.passes.PassManager(steps, steps=4)


# Operators that only some opsets have.
_WHOLE = ir.passes.Sequential(
    GroupNormalizationPass(), RMSNormalizationPass(), ActivationsPass(), common.RemoveUnusedNodesPass()
)

_FINISH = ir.passes.Sequential(
    common.DeduplicateInitializersPass(size_limit=1024),
    common.CommonSubexpressionEliminationPass(),
    common.RemoveUnusedNodesPass(),
)

_NAME = ir.passes.Sequential(
    OrderNodesPass(),
    NameTensorsPass(),
    SeparateBodyOutputsPass(),
    common.ShapeInferencePass(),
)
