"""What happens to a graph between tf2onnx and TensorRT: one file a pass, run in this order."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes import common

from keras_trt.export.passes.fold_affine import FoldAffinePass
from keras_trt.export.passes.layout import RemoveTransposesPass
from keras_trt.export.passes.naming import NameNodesPass, NameTensorsPass
from keras_trt.export.passes.opset import RaiseOpsetPass
from keras_trt.export.passes.qdq import FoldPadPass, HoistTransposePass, RepeatQuantizersPass
from keras_trt.export.passes.simplify import SimplifyPass
from keras_trt.export.passes.weights import QuantizeWeightsPass


def run_passes(
    model: ir.Model, layers: Iterable[str], *, opset: int, quantized: Iterable[str] | None = None
) -> ir.Model:
    """Runs every pass on a freshly converted model, in place.

    Args:
        model: What `convert` returned.
        layers: The paths of all Keras layers.
        opset: The opset asked for.
        quantized: The paths of the layers with quantised weights; None when the model cannot say.
    """
    layers = tuple(layers)
    rewrite = ir.passes.PassManager(
        [
            common.IdentityEliminationPass(),
            SimplifyPass(),
            FoldAffinePass(),
            RemoveTransposesPass(),
            HoistTransposePass(),
            FoldPadPass(),
            RepeatQuantizersPass(),
            common.DeduplicateInitializersPass(size_limit=1024),
            common.CommonSubexpressionEliminationPass(),
            common.RemoveUnusedNodesPass(),
        ],
        steps=4,
    )
    passes = ir.passes.Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        NameNodesPass(layers),
        common.ShapeInferencePass(),
        rewrite,
        QuantizeWeightsPass(layers, quantized),
        RaiseOpsetPass(opset),
        common.DeduplicateInitializersPass(size_limit=1024),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.TopologicalSortPass(),
        NameTensorsPass(),
        common.ShapeInferencePass(),
    )
    return passes(model).model
