"""A product with a matrix takes tensors of many axes as they are."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import load, quantize_model
from keras_trt.exporting.export import export
from keras_trt.onnx_passes.layout.products import MultiplyManyAxesPass
from tests.onnx_tools import GraphBuilder, floats, ops, run


@pytest.mark.parametrize("scheme", [None, "int8", "fp8"])
@pytest.mark.parametrize("axes", [(5,), (2, 3)])
def test_dense_layers_on_many_axes_leave_as_one_matmul(k, scheme, axes, tmp_path):
    x = k.Input((*axes, 8))
    model = k.Model(x, k.layers.Dense(4)(k.layers.Dense(6, activation="relu")(x)))
    values = floats(4, *axes, 8)
    if scheme is not None:
        model = quantize_model(model, scheme, calibration_data=values, verbose=0)
    report = export(model, tmp_path / "net", engine=None, verify=False, verbose=0)
    assert report.operators["MatMul"] == 2
    assert "Reshape" not in report.operators
    assert report.int8_mac_share == (scheme == "int8")
    found = load(tmp_path / "net", runner="onnxruntime", verbose=0).predict(values, verbose=0)
    assert scheme == "fp8" or np.abs(found - model.predict(values, verbose=0)).mean() < 1e-4


def test_attention_in_int8_builds(k, tmp_path):
    x = k.Input((6, 8))
    model = k.Model(x, k.layers.MultiHeadAttention(2, 4)(x, x))
    model = quantize_model(model, calibration_data=floats(4, 6, 8), verbose=0)
    report = export(model, tmp_path / "net", engine="tensorrt_rtx", compute_capabilities=["SM89"], verbose=0)
    assert report.int8_mac_share == 1.0


@pytest.mark.parametrize(
    ("shape", "target", "last", "left"),
    [
        (("batch", 5, 8), [-1, 8], [-1, 5, 3], []),
        (("batch", "time", 8), [-1, 8], [-1, 5, 3], ["Reshape"]),  # two sizes are unknown
        (("batch", 5, 8), [-1, 8], [-1, 5, 3, 1], ["Reshape"]),  # heads, say
        (("batch", 5, 4), [-1, 8], [-1, 5, 3], ["Reshape", "Reshape"]),  # not only leading axes are joined
    ],
)
def test_only_reshapes_that_join_leading_axes_go(shape, target, last, left):
    b = GraphBuilder(x=shape)
    rows = b.qdq(b("Reshape", "x", np.array(target)), 0.03)
    product = b("Add", b("MatMul", rows, floats(8, 3)), floats(3))
    model = b.finish(b("Reshape", product, np.array(last)))
    x = floats(*[{"batch": 2, "time": 5}.get(n, n) for n in shape])
    before = run(model, x=x)
    MultiplyManyAxesPass()(model)
    assert [op for op in ops(model) if op == "Reshape"] == left
    for y, expected in zip(run(model, x=x).values(), before.values(), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-5)


def test_a_reshape_with_other_readers_stays(tmp_path):
    b = GraphBuilder(x=("batch", 5, 8))
    rows = b("Reshape", "x", np.array([-1, 8]))
    product = b("Reshape", b("MatMul", rows, floats(8, 3)), np.array([-1, 5, 3]))
    model = b.finish(product, b("Relu", rows))
    before = run(model, x=floats(2, 5, 8))
    MultiplyManyAxesPass()(model)
    for y, expected in zip(run(model, x=floats(2, 5, 8)).values(), before.values(), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-5)
