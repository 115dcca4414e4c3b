"""Layer normalisation and that by the root mean square as ONNX's own operators, one layer in TensorRT."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from keras_trt._base.names import unique
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.folding.normalizations import Normalization, normalizations, per_row

RMS_OPSET = 23
"""The first opset with `RMSNormalization`."""


class LayerNormalizationPass(ir.passes.InPlacePass):
    """Puts one `LayerNormalization` in the place of the operators that compute it, over the last axes.

    However it is written: each tensor that depends only on x, constants and means of x is worked out as a
    polynomial (`moments`). Over other axes, as where channels come first, ONNX has no operator for it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks behind every tensor whose mean is taken; what is left unused goes."""
        return _replaced(model, about_mean=True)


class RMSNormalizationPass(ir.passes.InPlacePass):
    """The same for `RMSNormalization`, which takes no mean off, where the model's opset has it."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks behind every mean of squares; what is left unused goes."""
        if model.opset_imports[""] < RMS_OPSET:
            return ir.passes.PassResult(model, modified=False)
        return _replaced(model, about_mean=False)


def _replaced(model: ir.Model, about_mean: bool) -> ir.passes.PassResult:
    taken = {node.name for node in model.graph if node.name}

    def wanted(each: Normalization) -> bool:
        return each.about_mean == about_mean and _parameters(each) is not None

    modified = False
    for each in normalizations(model.graph, wanted):
        _replace(each, taken)
        modified = True
    return ir.passes.PassResult(model, modified)


def _parameters(each: Normalization) -> tuple[np.ndarray, ...] | None:
    """Scale and bias over the last axes; None where they differ along others, or the operator has no bias."""
    shape = [int(size) for size in g.given(each.x.shape)[each.axis :]]
    gamma, beta = per_row(each.gamma, shape), per_row(each.beta, shape)
    if gamma is None or beta is None or not (each.about_mean or not beta.any()):
        return None
    return (gamma, beta) if each.about_mean else (gamma,)


def _replace(each: Normalization, taken: set[str]) -> None:
    kind = "LayerNormalization" if each.about_mean else "RMSNormalization"
    name = unique(f"{(each.last.name or '').rpartition('/')[0]}/{kind}".lstrip("/"), taken)
    graph = g.given(each.last.graph)
    constants = [
        g.add_constant(graph, array, f"{name}/{label}")
        for array, label in zip(g.given(_parameters(each)), ("scale", "bias"), strict=False)
    ]
    attributes = {"axis": each.axis - len(g.given(each.x.shape)), "epsilon": each.epsilon, "stash_type": 1}
    y = g.insert(each.last, kind, [each.x, *constants], attributes, like=each.x, name=name)
    g.replace(each.last, y)
