"""A DequantizeLinear stands right before each quantised op, and no number changes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.quantized.qdq import HoistLayoutPass, RepeatQuantizersPass
from tests.onnx_tools import GraphBuilder, floats, ops, run

NHWC_TO_NCHW = [0, 3, 1, 2]
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


def apply(one_pass, model, **feeds):
    before = run(model, **feeds)
    one_pass(model)
    common.RemoveUnusedNodesPass()(model)
    after = run(model, **feeds)
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    return ops(model)


def test_a_transpose_moves_before_the_quantiser():
    b = GraphBuilder(x=("batch", 8, 8, 3))
    y = b("Transpose", b.qdq("x", 0.02), perm=NHWC_TO_NCHW)
    model = b.finish(b("Conv", y, floats(4, 3, 3, 3)))
    found = apply(HoistLayoutPass(), model, x=floats(2, 8, 8, 3))
    assert found == ["Transpose", "QuantizeLinear", "DequantizeLinear", "Conv"]


@pytest.mark.parametrize("between", ["Q and DQ", "DQ and Conv"])
def test_a_reshape_moves_before_the_quantiser(between):
    b = GraphBuilder(x=("batch", 12))
    shape = np.array([-1, 3, 2, 2], np.int64)
    if between == "Q and DQ":
        q = b("Reshape", b("QuantizeLinear", "x", np.float32(0.02), np.int8(0)), shape)
        y = b("DequantizeLinear", q, np.float32(0.02), np.int8(0))
    else:
        y = b("Reshape", b.qdq("x", 0.02), shape)
    model = b.finish(b("Conv", y, floats(4, 3, 1, 1)))
    found = apply(HoistLayoutPass(), model, x=floats(2, 12))
    assert found == ["Reshape", "QuantizeLinear", "DequantizeLinear", "Conv"]


def test_a_pad_moves_behind_a_transpose():
    b = GraphBuilder(x=("batch", 8, 8, 3))
    pads = np.array([0, 1, 2, 0, 0, 3, 1, 0], np.int64)
    y = b("Transpose", b.qdq(b("Pad", "x", pads), 0.02), perm=NHWC_TO_NCHW)
    model = b.finish(b("Conv", y, floats(4, 3, 3, 3)))
    assert apply(HoistLayoutPass(), model, x=floats(2, 8, 8, 3))[0] == "Pad"
    found = apply(HoistLayoutPass(), model, x=floats(2, 8, 8, 3))
    assert found == ["Transpose", "Pad", "QuantizeLinear", "DequantizeLinear", "Conv"]


def test_a_quantiser_with_other_users_is_copied_for_the_transpose():
    b = GraphBuilder(x=("batch", 8, 8, 3))
    dq = b.qdq("x", 0.02)
    conv = b("Conv", b("Transpose", dq, perm=NHWC_TO_NCHW), floats(4, 3, 1, 1))
    model = b.finish(conv, b("Relu", dq))
    found = apply(HoistLayoutPass(), model, x=floats(2, 8, 8, 3))
    assert found.count("QuantizeLinear") == 2
    assert found.index("Transpose") < found.index("Conv")


def test_a_new_node_does_not_share_the_type_of_its_neighbour():
    b = GraphBuilder(x=("batch", 8, 8, 3))
    y = b("Transpose", b.qdq(b("Relu", "x"), 0.02), perm=NHWC_TO_NCHW)
    model = b.finish(b("Conv", y, floats(4, 3, 3, 3)))
    HoistLayoutPass()(model)
    common.CheckerPass(full_check=True)(model)


def test_a_reshape_between_the_two_moves_before_them():
    b = GraphBuilder(x=("batch", 1, 1, 8))
    scale, zero = np.float32(0.02), np.int8(0)
    q = b("QuantizeLinear", b("Relu", "x"), scale, zero)
    dq = b("DequantizeLinear", b("Reshape", q, np.array([-1, 8, 1, 1], np.int64)), scale, zero)
    found = apply(HoistLayoutPass(), b.finish(b("Conv", dq, floats(4, 8, 1, 1))), x=floats(2, 1, 1, 8))
    assert found == ["Relu", "Reshape", "QuantizeLinear", "DequantizeLinear", "Conv"]


def test_a_reshape_of_integers_moves_before_the_quantiser_for_all_its_readers():
    b = GraphBuilder(x=("batch", 1, 1, 8))
    scale, zero = np.float32(0.02), np.int8(0)
    integers = b("Reshape", b("QuantizeLinear", "x", scale, zero), np.array([-1, 8], np.int64))
    outputs = [b("DequantizeLinear", integers, scale, zero) for _ in range(2)]
    found = apply(HoistLayoutPass(), b.finish(*outputs), x=floats(2, 1, 1, 8))
    assert found == ["Reshape", "QuantizeLinear", "DequantizeLinear", "DequantizeLinear"]


def test_a_pad_in_time_moves_behind_the_axis_that_a_1d_convolution_adds():
    b = GraphBuilder(x=("batch", 8, 5))
    padded = b("Pad", b.qdq("x", 0.02), np.array([0, 2, 0, 0, 1, 0], np.int64))
    y = b("Transpose", b("Unsqueeze", padded, np.array([1])), perm=NHWC_TO_NCHW)
    model = b.finish(b("Conv", y, floats(4, 5, 1, 3)))
    found = apply(HoistLayoutPass(), model, x=floats(2, 8, 5))
    found = apply(HoistLayoutPass(), model, x=floats(2, 8, 5))
    assert found[-2:] == ["Pad", "Conv"]
    (pads,) = (node.inputs[1].const_value.numpy() for node in model.graph if node.op_type == "Pad")
    assert pads.tolist() == [0, 0, 0, 2, 0, 0, 0, 1]


@pytest.mark.parametrize("mover", ["MaxPool", "Reshape", "Pad", "Concat"])
def test_the_quantiser_is_repeated_behind_ops_that_move_values(mover):
    b = GraphBuilder(x=("batch", 4, 8, 8))
    dq = b.qdq("x", 0.02)
    if mover == "MaxPool":
        y = b("MaxPool", dq, kernel_shape=[2, 2], strides=[2, 2])
    elif mover == "Reshape":
        y = b("Reshape", dq, np.array([0, 4, 16, 4], np.int64))
    elif mover == "Pad":
        y = b("Pad", dq, PADS)
    else:
        y = b("Concat", dq, b.qdq(b("Relu", "x"), 0.02), axis=1)
    model = b.finish(b("Conv", y, floats(4, 8 if mover == "Concat" else 4, 1, 1)))
    found = apply(RepeatQuantizersPass(), model, x=floats(2, 4, 8, 8))
    assert found[-4:] == [mover, "QuantizeLinear", "DequantizeLinear", "Conv"]


def test_a_concat_of_different_scales_is_left_alone():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Concat", b.qdq("x", 0.02), b.qdq(b("Relu", "x"), 0.03), axis=1)
    found = apply(RepeatQuantizersPass(), b.finish(b("Conv", y, floats(4, 8, 1, 1))), x=floats(2, 4, 8, 8))
    assert found[-2:] == ["Concat", "Conv"]


def test_ops_that_compute_are_not_passed():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Sigmoid", b.qdq("x", 0.02))
    found = apply(RepeatQuantizersPass(), b.finish(b("Conv", y, floats(4, 4, 1, 1))), x=floats(2, 4, 8, 8))
    assert found.count("QuantizeLinear") == 1


def test_equal_pairs_on_one_tensor_become_one():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    x = b("Relu", "x")
    y = b("Add", b("Conv", b.qdq(x, 0.02), floats(4, 4, 1, 1)), b.qdq(x, 0.02))
    model = b.finish(y)
    common.DeduplicateInitializersPass()(model)
    found = apply(common.CommonSubexpressionEliminationPass(), model, x=floats(2, 4, 8, 8))
    assert found.count("QuantizeLinear") == found.count("DequantizeLinear") == 1


def test_a_causal_convolution_computes_in_int8_where_its_input_is_also_added(tmp_path):
    import keras

    import keras_trt

    layers = keras.layers
    x = keras.Input((8, 4))
    h = layers.Conv1D(4, 1, activation="relu")(x)
    y = layers.Conv1D(4, 3, padding="causal", activation="relu")(h)
    y = layers.Conv1D(4, 3, padding="causal")(y)
    model = keras.Model(x, layers.Dense(3)(layers.ReLU()(layers.Add()([h, y]))))
    rows = np.random.default_rng(0).normal(size=(8, 8, 4)).astype("float32")
    quantized = keras_trt.quantize_model(model, calibration_data=rows, verbose=0)
    report = keras_trt.export(quantized, tmp_path / "net", engine=None, verbose=0)
    assert report.int8_mac_share == 1.0
    assert not report.float_layers
