"""The float part of a graph changes its type; inputs, outputs and what would overflow do not."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes import common

from keras_trt.onnx_passes.cast_floats import CastFloatsPass
from keras_trt.onnx_passes.opset import RaiseOpsetPass
from keras_trt.runtime.distance import distance
from tests.onnx_tools import GraphBuilder, build_ir, floats, run


def lowered(model, precision="fp16", **options):
    RaiseOpsetPass(19 if precision == "fp16" else 22)(model)
    result = CastFloatsPass(precision, **options)(model)
    common.CheckerPass(full_check=True)(model)
    return result


def net():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Conv", b.qdq("x", 0.02), floats(4, 3, 3, 3), name="conv/Conv")
    y = b("ReduceMean", b("Relu", y), np.array([2, 3], np.int64), keepdims=0)
    return b.finish(b("MatMul", y, floats(4, 2), name="dense/MatMul"))


@pytest.mark.parametrize(("precision", "computes"), [("fp16", "float16"), ("bf16", "bfloat16")])
def test_tensorrt_computes_in_the_type_and_keeps_float32_at_the_ends(precision, computes, tmp_path):
    model = net()
    lowered(model, precision)
    assert model.graph.inputs[0].dtype == model.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert build_ir(model, tmp_path).audit.precisions == {computes: 2}


def test_the_numbers_stay_within_float16():
    model, x = net(), floats(2, 3, 8, 8)
    before = next(iter(run(model, x=x).values()))
    lowered(model)
    np.testing.assert_allclose(next(iter(run(model, x=x).values())), before, rtol=1e-2, atol=1e-2)


def test_layers_can_be_kept_in_float32(tmp_path):
    model = net()
    kept = lowered(model, layers=["conv", "dense"], keep=["dense"]).in_float32
    assert kept == {"dense/MatMul": "layer 'dense' stays in float32"}
    assert build_ir(model, tmp_path).audit.precisions == {"float16": 1, "float32": 1}


@pytest.mark.parametrize(
    ("value", "reason"), [(1e6, "overflows float16"), (1e-7, "too small for float16")], ids=["large", "small"]
)
def test_a_constant_that_float16_cannot_hold_keeps_its_node(value, reason):
    b = GraphBuilder(x=("batch", 4))
    model = b.finish(b("Relu", b("Add", "x", np.float32(value), name="shift")))
    kept = lowered(model).in_float32
    assert list(kept) == ["shift"]
    assert reason in kept["shift"]


def test_a_tiny_weight_scale_keeps_its_precision():
    b = GraphBuilder(x=("batch", 4))
    scales = np.array([1e-6, 0.1], np.float32)
    dq = b("DequantizeLinear", np.ones((4, 2), np.int8), scales, np.zeros(2, np.int8), axis=1, name="dq")
    assert "too small" in lowered(b.finish(b("MatMul", "x", dq))).in_float32["dq"]


def test_the_scales_of_a_resize_stay_float32():
    b = GraphBuilder(x=(1, 2, 3, 3))
    model = b.finish(b("Resize", "x", None, np.array([1, 1, 2, 2], np.float32), mode="nearest"))
    lowered(model)
    resize = next(n for n in model.graph if n.op_type == "Resize")
    assert [v.dtype for v in resize.inputs if v is not None] == [ir.DataType.FLOAT16, ir.DataType.FLOAT]


def test_casts_and_filled_tensors_take_the_type():
    b = GraphBuilder(x=("batch", 4))
    mask = b("Cast", b("Greater", "x", np.float32(0)), to=1)
    zeros = b("ConstantOfShape", b("Shape", "x"), value=ir.tensor(np.array([2.0], np.float32)))
    model, x = b.finish(b("Add", mask, zeros)), floats(3, 4)
    before = next(iter(run(model, x=x).values()))
    lowered(model)
    np.testing.assert_array_equal(next(iter(run(model, x=x).values())), before)


def int8_conv(b, x, name, scales):
    weight = np.random.default_rng(0).integers(-127, 128, (4, 4, 3, 3)).astype(np.int8)
    scales = np.full(4, scales, np.float32)
    dq = b("DequantizeLinear", weight, scales, np.zeros(4, np.int8), axis=0, name=f"{name}/Weight")
    return b("Conv", x, dq, name=f"{name}/Conv")


def two_readers(scales):
    """Two int8 convolutions that read one Q/DQ; the second one's weights have the scales."""
    b = GraphBuilder(x=("batch", 4, 8, 8))
    q = b("QuantizeLinear", "x", np.float32(0.05), np.int8(0), name="a/Q")
    x = b("DequantizeLinear", q, np.float32(0.05), np.int8(0), name="a/DQ")
    return b.finish(b("Add", int8_conv(b, x, "a", 0.01), int8_conv(b, x, "b", scales), name="sum/Add"))


def test_a_scale_too_small_for_float16_costs_its_layer_no_int8(tmp_path):
    model, x = two_readers(1e-6), floats(2, 4, 8, 8)
    before = next(iter(run(model, x=x).values()))
    kept = lowered(model, layers=["a", "b", "sum"]).in_float32
    assert set(kept) == {"b/Weight", "b/Conv"}
    assert "too small for float16" in kept["b/Conv"]
    relative, _ = distance(before, next(iter(run(model, x=x).values())))
    assert relative < 0.01  # float16 rounds some inputs to the neighbouring integer
    assert build_ir(model, tmp_path).audit.precisions == {"int8": 2}


@pytest.mark.parametrize("kept", ["a", "b"])
def test_layers_that_read_one_quantiser_in_two_types_both_stay_int8(kept, tmp_path):
    model, x = two_readers(0.01), floats(2, 4, 8, 8)
    before = next(iter(run(model, x=x).values()))
    lowered(model, layers=["a", "b", "sum"], overflowing={kept: "it is loud"})
    relative, _ = distance(before, next(iter(run(model, x=x).values())))
    assert relative < 0.01  # float16 rounds some inputs to the neighbouring integer
    assert build_ir(model, tmp_path).audit.precisions == {"int8": 2}


def test_shapes_and_masks_are_not_said_to_stay_in_float32():
    b = GraphBuilder(x=("batch", 4))
    shape = b("Shape", "x", name="loud/Shape")
    ones = b("Expand", np.float32(1), shape, name="loud/Expand")
    model = b.finish(b("Add", "x", ones, name="loud/Add"))
    assert set(lowered(model, layers=["loud"], overflowing={"loud": "why"}).in_float32) == {
        "loud/Add",
        "loud/Expand",
    }


def test_a_reason_for_a_layer_is_that_of_its_nodes(tmp_path):
    model = net()
    kept = lowered(model, layers=["conv", "dense"], overflowing={"dense": "dense is loud"}).in_float32
    assert kept == {"dense/MatMul": "dense is loud"}
