"""Without its quantisers a graph is the float graph of its weights, in the types that it had around them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from keras_trt._base.formats import dtype_of
from keras_trt.onnx_passes.quantized.remove import RemoveQuantizersPass
from tests.onnx_tools import GraphBuilder, floats, ops, run

QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}


def removed(model, **options):
    assert RemoveQuantizersPass(**options)(model).modified
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return model


def on_a_grid(shape, axis, top=127, seed=0):
    """Integers, the scales of an axis, and the floats that both stand for."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.001, 0.01, shape[axis]).astype(np.float32)
    values = rng.integers(-top, top + 1, shape)
    return (
        values,
        scale,
        values.astype(np.float32) * scale.reshape([-1 if i == axis else 1 for i in range(len(shape))]),
    )


def network(weights):
    """A Conv, a layout change between a quantiser's ends, a MatMul; `weights` are floats, or their int8."""
    b = GraphBuilder(x=("batch", 3, 6, 6))
    kernel, scale, unrounded = on_a_grid((4, 3, 3, 3), 0)
    matrix, matrix_scale, unrounded_matrix = on_a_grid((64, 5), 1, seed=1)
    shape = np.array([-1, 64], np.int64)
    if weights == "float":
        flat = b("Reshape", b("Relu", b("Conv", "x", unrounded)), shape)
        return b.finish(b("MatMul", flat, unrounded_matrix))
    dq = b("DequantizeLinear", kernel.astype(np.int8), scale, np.zeros(4, np.int8), axis=0)
    y = b("Relu", b("Conv", b.qdq("x", 0.05), dq))
    y = b("Reshape", b("QuantizeLinear", y, np.float32(0.02), np.int8(0)), shape)
    y = b("DequantizeLinear", y, np.float32(0.02), np.int8(0))
    dq = b("DequantizeLinear", matrix.astype(np.int8), matrix_scale, np.zeros(5, np.int8), axis=1)
    return b.finish(b("MatMul", y, dq))


def test_what_is_left_computes_what_the_float_graph_of_the_weights_does():
    x = 20 * floats(2, 3, 6, 6)  # far beyond the ranges, at whose ends int8 cuts it off
    (expected,) = run(network("float"), x=x).values()
    (rounded,) = run(network("int8"), x=x).values()
    model = removed(network("int8"))
    (y,) = run(model, x=x).values()
    assert ops(model) == ops(network("float"))
    np.testing.assert_array_equal(y, expected)
    assert np.abs(rounded - expected).max() > 1


def test_weights_may_stay_as_they_are():
    x = floats(2, 3, 6, 6)
    model = removed(network("int8"), weights=False)
    assert ops(model) == ["DequantizeLinear", "Conv", "Relu", "Reshape", "DequantizeLinear", "MatMul"]
    (y,), (expected,) = (run(m, x=x).values() for m in (model, network("float")))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_weights_whose_scales_belong_to_blocks_are_floats_too():
    rng = np.random.default_rng(0)
    values = rng.integers(-7, 8, (8, 3))
    scale = rng.uniform(0.01, 0.1, (2, 3)).astype(np.float32)
    b = GraphBuilder(x=("batch", 8))
    zero = np.zeros((2, 3), dtype_of("int4"))
    dq = b("DequantizeLinear", values.astype(dtype_of("int4")), scale, zero, axis=0, block_size=4)
    model = removed(b.finish(b("MatMul", "x", dq), opset=21))
    (weight,) = (v.const_value.numpy() for v in model.graph.initializers.values())
    np.testing.assert_array_equal(weight, values.astype(np.float32) * np.repeat(scale, 4, axis=0))


def test_fp8_weights_are_floats_too():
    fp8 = dtype_of("float8_e4m3fn")
    b = GraphBuilder(x=("batch", 8))
    values = floats(8, 3).astype(fp8)
    dq = b("DequantizeLinear", values, np.full(3, 0.5, np.float32), np.zeros(3, fp8), axis=1)
    model = removed(b.finish(b("MatMul", "x", dq), opset=19))
    (weight,) = (v.const_value.numpy() for v in model.graph.initializers.values())
    np.testing.assert_array_equal(weight, values.astype(np.float32) * 0.5)


@pytest.mark.parametrize("low", ["float16", "bfloat16"])
def test_types_around_the_quantisers_stay(low):
    """Quantised in float32, dequantised in the other type, weights in that type, too."""
    dtype = dtype_of(low)
    b = GraphBuilder(x=("batch", 8))
    q = b("QuantizeLinear", "x", np.float32(0.02), np.int8(0))
    y = b("DequantizeLinear", q, np.array(0.02, dtype), np.int8(0))
    matrix, scale, _ = on_a_grid((8, 5), 1)
    dq = b("DequantizeLinear", matrix.astype(np.int8), scale.astype(dtype), np.zeros(5, np.int8), axis=1)
    model = b.finish(b("Cast", b("MatMul", y, dq), to=ir.DataType.FLOAT), opset=22)
    model = removed(model)
    assert ops(model) == ["Cast", "MatMul", "Cast"]
    (weight,) = (v.const_value.numpy() for v in model.graph.initializers.values())
    assert weight.dtype == dtype


def test_outputs_keep_their_names():
    """One that is dequantised and read elsewhere, and one that is an input but for its rounding."""
    b = GraphBuilder(x=("batch", 8), z=("batch", 8))
    y = b.qdq(b("Relu", "x"), 0.02)
    model = b.finish(y, b("Neg", y), b.qdq("z", 0.02))
    names = [value.name for value in model.graph.outputs]
    x, z = floats(2, 8), floats(2, 8, seed=1)
    found = run(removed(model), x=x, z=z)
    assert list(found) == names
    for name, expected in zip(names, (np.maximum(x, 0), -np.maximum(x, 0), z), strict=True):
        np.testing.assert_array_equal(found[name], expected)


def test_a_graph_without_quantisers_is_not_touched():
    model = network("float")
    assert not RemoveQuantizersPass()(model).modified
    assert ops(model) == ["Conv", "Relu", "Reshape", "MatMul"]
