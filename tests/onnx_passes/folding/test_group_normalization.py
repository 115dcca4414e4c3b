"""Group normalisation where channels come first: one operator, or an instance normalisation of each group."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.folding.group_normalization import GroupNormalizationPass
from tests.onnx_tools import GraphBuilder, build, floats, ops, run

GAMMA, BETA = floats(6, seed=1), floats(6, seed=2)
PARTED, BACK = np.array([-1, 3, 2, 4, 4]), np.array([-1, 6, 4, 4])


def made(opset, gamma=GAMMA, beta=BETA, axes=(2, 3, 4), parted=PARTED, shape=("batch", 6, 4, 4)):
    b = GraphBuilder(x=shape)
    per_channel = [1, *parted[1:3], *[1] * (len(parted) - 3)]
    x, axes = b("Reshape", "x", parted), np.array(axes)
    c = b("Sub", x, b("ReduceMean", x, axes))
    deviation = b("Sqrt", b("Add", b("ReduceMean", b("Mul", c, c), axes), np.float32(1e-3)))
    y = b("Div", c, deviation)
    y = y if gamma is None else b("Mul", y, gamma.reshape(per_channel))
    y = y if beta is None else b("Add", y, beta.reshape(per_channel))
    return b.finish(b("Reshape", y, np.array([-1, *shape[1:]])), opset=opset)


def passed(model):
    modified = GroupNormalizationPass()(model).modified
    common.RemoveUnusedNodesPass()(model)
    return modified


EXPECTED = {
    (19, True, True): ["Reshape", "InstanceNormalization", "Reshape", "Mul", "Add"],
    (19, False, True): ["Reshape", "InstanceNormalization", "Reshape", "Add"],
    (19, True, False): ["Reshape", "InstanceNormalization", "Reshape", "Mul"],
    (21, True, True): ["GroupNormalization"],
    (21, False, False): ["GroupNormalization"],
}


@pytest.mark.parametrize(("opset", "scale", "center"), EXPECTED)
def test_it_becomes_what_the_opset_has(opset, scale, center, tmp_path):
    parameters = GAMMA if scale else None, BETA if center else None
    x = 3 * floats(2, 6, 4, 4) + 1
    (before,) = run(made(opset, *parameters), x=x).values()
    model = made(opset, *parameters)
    assert passed(model)
    assert ops(model) == EXPECTED[opset, scale, center]
    np.testing.assert_allclose(next(iter(run(model, x=x).values())), before, atol=1e-5)
    ir.save(model, tmp_path / "model.onnx")
    assert build(tmp_path / "model.onnx").data


OTHERS = {
    "over the group alone": {"axes": (2,)},
    "over all groups": {"axes": (1, 2, 3, 4)},
    "channels in another order": {"parted": np.array([-1, 2, 3, 4, 4]), "shape": ("batch", 4, 6, 4)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_normalisation_stays(name):
    model = made(21, **OTHERS[name])
    before = ops(model)
    assert not passed(model)
    assert ops(model) == before
