"""Group normalisation as ONNX's own operator, or as an instance normalisation, one layer in TensorRT."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from keras_trt._base.names import unique
from keras_trt.onnx_passes import _graph as g
from keras_trt.onnx_passes.folding.normalizations import Normalization, normalizations

OPSET = 21
"""The first opset whose `GroupNormalization` has a scale per channel."""


class GroupNormalizationPass(ir.passes.InPlacePass):
    """Group normalisation where channels come first: (N, C, ...) reshaped to (N, groups, C / groups, ...).

    From opset 21 it is one `GroupNormalization`. Below, `InstanceNormalization` of each group, which has the
    same statistics, between two Reshapes, then scale and shift, as PyTorch exports it. Where channels come
    last ONNX has no operator for it.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Looks behind every mean over the last axes; what is left unused goes."""
        taken = {node.name for node in model.graph if node.name}
        modified = False
        for each in normalizations(model.graph, _is_grouped):
            whole = model.opset_imports[""] >= OPSET
            (_as_operator if whole else _as_instances)(each, taken)
            modified = True
        return ir.passes.PassResult(model, modified)


def _is_grouped(each: Normalization) -> bool:
    """Whether (N, groups, C / groups, ...) is normalised that was (N, C, ...), and becomes it again."""
    parted, back = each.x.producer(), g.sole_consumer(each.last.outputs[0])
    if not each.about_mean or each.axis != 2 or parted is None or parted.op_type != "Reshape":
        return False
    if back is None or back.op_type != "Reshape" or back.inputs[0] is not each.last.outputs[0]:
        return False
    whole, groups, again = (_sizes(value) for value in (parted.inputs[0], each.x, back.outputs[0]))
    if len(whole) < 2 or whole != again or groups[2:] != whole[1:] or groups[0] * groups[1] != whole[0]:
        return False
    return None not in [_channels(each, parameter) for parameter in (each.gamma, each.beta)]


def _sizes(value: ir.Value | None) -> list[int]:
    """All sizes but that of the batch; empty where one is not known."""
    sizes = list(value.shape)[1:] if value is not None and value.shape is not None else []
    known = [size for size in sizes if isinstance(size, int)]
    return known if len(known) == len(sizes) else []


def _channels(each: Normalization, parameter: np.ndarray) -> bytes | None:
    """The numbers of a parameter per channel, as float32; None where it differs elsewhere."""
    shape = g.given(each.x.shape)
    sizes = [1, *(int(size) for size in shape[1:3]), *[1] * (len(shape) - 3)]
    try:
        return np.broadcast_to(parameter, sizes).astype(np.float32).tobytes()
    except ValueError:
        return None


def _parameters(each: Normalization) -> tuple[np.ndarray, np.ndarray]:
    gamma, beta = (np.frombuffer(g.given(_channels(each, p)), np.float32) for p in (each.gamma, each.beta))
    return gamma, beta


def _as_operator(each: Normalization, taken: set[str]) -> None:
    back, name = _behind(each, "GroupNormalization", taken)
    graph, x = g.given(back.graph), _whole(each)
    scale, bias = (
        g.add_constant(graph, array, f"{name}/{label}")
        for array, label in zip(_parameters(each), ("scale", "bias"), strict=True)
    )
    attributes = {"num_groups": int(g.given(each.x.shape)[1]), "epsilon": each.epsilon}
    g.replace(back, g.insert(back, "GroupNormalization", [x, scale, bias], attributes, like=x, name=name))


def _as_instances(each: Normalization, taken: set[str]) -> None:
    back, name = _behind(each, "InstanceNormalization", taken)
    graph, x = g.given(back.graph), _whole(each)
    groups = int(g.given(each.x.shape)[1])
    rest = math.prod(int(size) for size in g.given(each.x.shape)[2:])

    def constant(array: np.ndarray, label: str) -> ir.Value:
        return g.add_constant(graph, array, f"{name}/{label}")

    parted = g.insert(
        back,
        "Reshape",
        [x, constant(np.array([0, groups, rest]), "groups")],
        name=f"{name}/Reshape",
        dtype=x.dtype,
    )
    parted.shape = ir.Shape([g.given(x.shape)[0], groups, rest])
    ones, zeros = (
        constant(np.full(groups, n, np.float32), label) for n, label in ((1, "ones"), (0, "zeros"))
    )
    attributes = {"epsilon": each.epsilon}
    y = g.insert(back, "InstanceNormalization", [parted, ones, zeros], attributes, like=parted, name=name)
    shape = [0, *(int(size) for size in g.given(x.shape)[1:])]
    y = g.insert(back, "Reshape", [y, constant(np.array(shape), "shape")], like=x, name=f"{name}/Reshape_1")
    for kind, array, neutral in zip(("Mul", "Add"), _parameters(each), (1, 0), strict=True):
        if np.any(array != neutral):
            per_channel = constant(array.reshape(-1, *[1] * (len(shape) - 2)), kind.lower())
            y = g.insert(back, kind, [y, per_channel], like=x, name=f"{name}/{kind}")
    g.replace(back, y)


def _behind(each: Normalization, kind: str, taken: set[str]) -> tuple[ir.Node, str]:
    """The Reshape behind, and a new node's name."""
    back = g.given(g.sole_consumer(each.last.outputs[0]))
    return back, unique(f"{(each.last.name or '').rpartition('/')[0]}/{kind}".lstrip("/"), taken)


def _whole(each: Normalization) -> ir.Value:
    return g.given(g.given(each.x.producer()).inputs[0])
