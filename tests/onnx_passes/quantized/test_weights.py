"""Weights on an int8 grid become int8 initializers with the right axis, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import ExportError
from keras_trt.onnx_passes.quantized.weights import QuantizeWeightsPass, to_grid
from tests.onnx_tools import GraphBuilder, build_ir, floats, ops, run


def on_grid(shape, axis, seed=0):
    """A weight on the int8 grid of its channels, as a quantised Keras layer leaves it."""
    weight = floats(*shape, seed=seed)
    others = tuple(i for i in range(len(shape)) if i != axis % len(shape))
    scale = np.abs(weight).max(axis=others, keepdims=True) / np.float32(127)
    return (np.rint(weight / scale) * scale).astype(np.float32)


def graph(op_type):
    if op_type == "Conv":
        b = GraphBuilder(x=("batch", 4, 8, 8))
        return b.finish(b("Conv", b.qdq("x", 0.02), on_grid((6, 4, 3, 3), 0), name="layer/Conv")), 0
    if op_type == "depthwise":
        b = GraphBuilder(x=("batch", 4, 8, 8))
        return b.finish(b("Conv", b.qdq("x", 0.02), on_grid((8, 1, 3, 3), 0), group=4, name="layer/Conv")), 0
    if op_type == "ConvTranspose":
        b = GraphBuilder(x=("batch", 4, 8, 8))
        return b.finish(b("ConvTranspose", b.qdq("x", 0.02), on_grid((4, 6, 2, 2), 1), name="layer/Conv")), 1
    b = GraphBuilder(x=("batch", 8))
    if op_type == "MatMul":
        return b.finish(b("MatMul", b.qdq("x", 0.02), on_grid((8, 6), 1), name="layer/MatMul")), 1
    if op_type == "Gemm":
        return b.finish(b("Gemm", b.qdq("x", 0.02), on_grid((8, 6), 1), name="layer/Gemm")), 1
    return b.finish(b("Gemm", b.qdq("x", 0.02), on_grid((6, 8), 0), transB=1, name="layer/Gemm")), 0


@pytest.mark.parametrize("op_type", ["Conv", "depthwise", "ConvTranspose", "MatMul", "Gemm", "Gemm transB"])
def test_weights_become_int8_along_the_output_channels(op_type, tmp_path):
    model, axis = graph(op_type)
    x = floats(2, *[d for d in model.graph.inputs[0].shape[1:]])
    before = run(model, x=x)
    QuantizeWeightsPass(["layer"])(model)
    assert ops(model)[-2] == "DequantizeLinear"
    dq = model.graph[-2]
    assert dq.attributes["axis"].as_int() == axis
    weight, scale, zero_point = (v.const_value.numpy() for v in dq.inputs)
    assert weight.dtype == zero_point.dtype == np.int8
    assert scale.shape == zero_point.shape == (weight.shape[axis],)
    for name, value in run(model, x=x).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-5, atol=1e-6)
    plan = build_ir(model, tmp_path)
    assert plan.audit.precisions == {"int8": 1}


def test_a_channel_of_zeros_gets_a_positive_scale(tmp_path):
    weight = on_grid((6, 4, 3, 3), 0)
    weight[2] = 0
    b = GraphBuilder(x=("batch", 4, 8, 8))
    model = b.finish(b("Conv", b.qdq("x", 0.02), weight))
    QuantizeWeightsPass()(model)
    assert (model.graph[-2].inputs[1].const_value.numpy() > 0).all()
    build_ir(model, tmp_path)


def test_a_weight_of_zeros_only_has_a_positive_scale():
    integers, scales = to_grid(np.zeros((2, 3), np.float32), 1, "dense")
    assert not integers.any()
    assert (scales > 0).all()


def test_a_single_channel_keeps_its_vector_of_scales(tmp_path):
    b = GraphBuilder(x=("batch", 4, 8, 8))
    model = b.finish(b("Conv", b.qdq("x", 0.02), on_grid((1, 4, 3, 3), 0)))
    QuantizeWeightsPass()(model)
    assert model.graph[-2].inputs[1].const_value.shape == [1]
    build_ir(model, tmp_path)


def test_a_weight_off_the_grid_is_an_error_that_names_the_layer():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    model = b.finish(b("Conv", b.qdq("x", 0.02), floats(6, 4, 3, 3), name="block/conv/Conv"))
    with pytest.raises(
        ExportError, match=r"layer 'block/conv' are not on an int8 grid.*skip=\['block/conv'\]"
    ):
        QuantizeWeightsPass(["block", "block/conv"])(model)


@pytest.mark.parametrize("kept", ["masked", "four bits", "signs"])
def test_weights_on_a_coarser_grid_are_read_back_exactly(kept):
    weight = on_grid((40, 6), 1)
    if kept == "masked":  # the largest among them
        weight[np.abs(weight).argmax(0), np.arange(6)] = 0
        weight[np.abs(weight).argmax(0), np.arange(6)] = 0
    else:
        weight = (np.sign(weight) if kept == "signs" else np.rint(weight * 4) / 4).astype(np.float32)
    values, scales = to_grid(weight, 1, "dense")
    np.testing.assert_allclose(values * scales, weight, rtol=1e-6, atol=1e-8)
    assert (np.abs(values).max(0) < 127).all() == (kept != "signs")


def test_matrices_of_a_layer_s_own_beside_its_kernel_stay_float():
    b = GraphBuilder(x=("batch", 8))
    dq = b.qdq("x", 0.02)
    low = b("MatMul", dq, floats(8, 2), name="a/down")
    y = b(
        "Add",
        b("MatMul", low, floats(2, 6), name="a/up"),
        b("MatMul", dq, on_grid((8, 6), 1), name="a/MatMul"),
    )
    model = b.finish(y)
    QuantizeWeightsPass(["a"], quantized={"a": 1})(model)
    assert [n.name for n in model.graph if n.op_type == "DequantizeLinear"][1:] == ["a/MatMul/weight/DQ"]
    with pytest.raises(ExportError, match="weights of layer 'a' are not on an int8 grid"):
        QuantizeWeightsPass(["a"], quantized={"a": 2})(model)


def test_only_the_layers_said_to_be_quantised_are_touched():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    dq = b.qdq("x", 0.02)
    y = b("Conv", dq, on_grid((4, 4, 1, 1), 0), name="a/Conv")
    y = b("Add", y, b("Conv", dq, floats(4, 4, 1, 1), name="b/Conv"))
    model = b.finish(y)
    QuantizeWeightsPass(["a", "b"], quantized={"a": 1})(model)
    assert [n.name for n in model.graph if n.op_type == "DequantizeLinear"][1:] == ["a/Conv/weight/DQ"]


def test_a_quantised_layer_without_an_op_is_an_error():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    model = b.finish(b("Conv", b.qdq("x", 0.02), on_grid((4, 4, 1, 1), 0), name="a/Conv"))
    with pytest.raises(ExportError, match="weights of 1 layers were not found in the ONNX graph.*: lost"):
        QuantizeWeightsPass(["a", "lost"], quantized={"a": 1, "lost": 1})(model)


def test_a_layer_with_two_weights_needs_two_int8_ops():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    model = b.finish(b("Conv", b.qdq("x", 0.02), on_grid((4, 4, 1, 1), 0), name="a/Conv"))
    with pytest.raises(ExportError, match="not found in the ONNX graph.*: a"):
        QuantizeWeightsPass(["a"], quantized={"a": 2})(model)
