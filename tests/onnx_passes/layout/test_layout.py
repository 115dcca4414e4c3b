"""Transposes before reductions and flattening go; the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.layout.layout import RemoveTransposesPass
from tests.onnx_tools import GraphBuilder, floats, ops, run

NCHW_TO_NHWC = [0, 2, 3, 1]


def rewritten(model, **feeds):
    before = run(model, **feeds)
    RemoveTransposesPass()(model)
    common.RemoveUnusedNodesPass()(model)
    after = run(model, **feeds)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-6)
    return ops(model)


@pytest.mark.parametrize("axes", [[1, 2], [-1], [3], [2, 1, 3]])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_reduction_takes_the_axes_of_the_untransposed_tensor(axes, keepdims):
    b = GraphBuilder(x=("batch", 3, 4, 5))
    y = b("Transpose", "x", perm=NCHW_TO_NHWC)
    y = b("ReduceMean", y, np.array(axes, np.int64), keepdims=keepdims)
    found = rewritten(b.finish(y), x=floats(2, 3, 4, 5))
    assert found[0] == "ReduceMean"
    if axes == [1, 2] and not keepdims:
        assert found == ["ReduceMean"]


@pytest.mark.parametrize("quantised", [False, True])
def test_flatten_before_a_dense_permutes_the_weight_instead(quantised):
    b = GraphBuilder(x=("batch", 3, 4, 5))
    y = b("Reshape", b("Transpose", "x", perm=NCHW_TO_NHWC), np.array([-1, 60], np.int64))
    y = b("MatMul", b.qdq(y, 0.02) if quantised else y, floats(60, 7))
    assert "Transpose" not in rewritten(b.finish(y), x=floats(2, 3, 4, 5))


def test_a_flattened_tensor_with_another_user_keeps_its_transpose():
    b = GraphBuilder(x=("batch", 3, 4, 5))
    flat = b("Reshape", b("Transpose", "x", perm=NCHW_TO_NHWC), np.array([-1, 60], np.int64))
    model = b.finish(b("MatMul", flat, floats(60, 7)), b("Relu", flat))
    assert "Transpose" in rewritten(model, x=floats(2, 3, 4, 5))
