"""OpenVINO computes what the file says on graphs that its int8 optimisations get wrong when left alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from keras_trt.runtime.runners.openvino.model import repair
from tests.onnx_tools import GraphBuilder, floats, run

openvino = pytest.importorskip("openvino")

OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}


def weight(b, *shape, axis=0, seed=0, dtype=np.float32):
    """An int8 weight with a scale per channel, dequantised."""
    rng = np.random.default_rng(seed)
    scales = rng.uniform(0.002, 0.02, shape[axis]).astype(dtype)
    integers = rng.integers(-63, 64, shape).astype(
        np.int8
    )  # no processor's pairs of products overflow 16 bits
    return b("DequantizeLinear", integers, scales, np.zeros(shape[axis], np.int8), axis=axis)


def convolution(b, x, channels=4):
    return b(
        "Conv", b.qdq(x, 0.03), weight(b, channels, 4, 3, 3), np.zeros(channels, np.float32), pads=[1] * 4
    )


def two_readers(b, y):
    return [b("Sigmoid", y), b("Conv", b.qdq(y, 0.05), weight(b, 2, 4, 1, 1, seed=1))]


def gelu(b, y):
    halves = b("Mul", y, np.float32(0.5)), b("Erf", b("Mul", y, np.float32(0.7)))
    return [b("Mul", halves[0], b("Add", halves[1], np.float32(1)))]


def normalised(b, y):
    centred = b("Sub", y, b("ReduceMean", y, np.array([1])))
    variance = b("ReduceMean", b("Mul", centred, centred), np.array([1]))
    return [b("Div", centred, b("Sqrt", b("Add", variance, np.float32(1e-3))))]


def extremes(b, y):
    highest = b("ReduceMax", y, np.array([2, 3]), keepdims=0)
    lowest = b("ReduceMin", y, np.array([2, 3]), keepdims=1)
    kernel = weight(b, 4, 3, axis=1, seed=2)
    flat = b("Reshape", b.qdq(lowest, 0.02), np.array([-1, 4]))
    return [b("MatMul", b.qdq(highest, 0.02), kernel), b("MatMul", flat, kernel)]


def compiled(model):
    read = openvino.Core().read_model(ir.to_proto(model).SerializeToString())
    repair(read, openvino)
    return openvino.Core().compile_model(read, "CPU", OPTIONS)


@pytest.mark.parametrize("behind", [two_readers, gelu, normalised, extremes])
def test_what_reads_an_int8_convolution_reads_its_own_numbers(behind):
    b = GraphBuilder(x=("batch", 4, 6, 6))
    model = b.finish(*behind(b, convolution(b, "x")))
    x = floats(2, 4, 6, 6)
    found = compiled(model)(x)
    for i, expected in enumerate(run(model, x=x).values()):
        np.testing.assert_allclose(found[i], expected, atol=1e-4)


@pytest.mark.parametrize("columns", [3, 4])
def test_the_scales_of_a_product_stay_on_its_columns_behind_a_reshape(columns):
    b = GraphBuilder(x=("batch", 8))
    product = b("MatMul", b.qdq("x", 0.03), weight(b, 8, columns, axis=1))
    model = b.finish(b("Reshape", product, np.array([-1, 3, columns])))
    x = floats(6, 8)
    (expected,) = run(model, x=x).values()
    np.testing.assert_allclose(compiled(model)(x)[0], expected, atol=1e-4)


def test_float16_around_the_quantisers_loads_and_is_right():
    b = GraphBuilder(x=("batch", 4, 6, 6))
    scale, half = np.float16(0.03), b("Cast", "x", to=onnx.TensorProto.FLOAT16)
    pair = b("DequantizeLinear", b("QuantizeLinear", half, scale, np.int8(0)), scale, np.int8(0))
    y = b("Conv", pair, weight(b, 4, 4, 3, 3, dtype=np.float16))
    model = b.finish(b("Cast", b("Relu", y), to=onnx.TensorProto.FLOAT))
    x = floats(2, 4, 6, 6)
    (expected,) = run(model, x=x).values()
    assert np.abs(compiled(model)(x)[0] - expected).mean() < 5e-3  # float16 rounds a few to another integer


@pytest.mark.parametrize("scale", [0.01, 0.1])
def test_the_scale_of_what_is_normalised_counts_beside_the_epsilon(scale):
    b = GraphBuilder(x=("batch", 5, 8))
    y = b("LayerNormalization", b.qdq("x", scale), np.ones(8, np.float32), axis=-1, epsilon=1e-3)
    model = b.finish(b("MatMul", b.qdq(y, 0.02), weight(b, 8, 4, axis=1)))
    x = 3 * np.float32(scale) * floats(2, 5, 8)
    (expected,) = run(model, x=x).values()
    np.testing.assert_allclose(compiled(model)(x)[0], expected, atol=1e-4)


BETWEEN = {
    "nothing": lambda b, y: y,
    "layout": lambda b, y: b("Transpose", y, perm=[0, 1, 3, 2]),
    "activation": lambda b, y: b("Relu", y),
    "concatenation": lambda b, y: b("Concat", y, b("Neg", y), axis=2),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_averages_are_not_rounded_for_what_reads_them_beside_a_quantiser(between, rng):
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("AveragePool", b.qdq("x", 0.03), kernel_shape=[4, 4], strides=[4, 4])
    y = BETWEEN[between](b, y)
    convolved = b("Conv", b.qdq(y, 0.0046713), weight(b, 2, 4, 1, 1, seed=1))
    model = b.finish(convolved, b("Mul", y, floats(4, 1, 1)))
    x = rng.normal(size=(2, 4, 8, 8)).astype("float32")
    results = compiled(model)(x)
    for i, expected in enumerate(run(model, x=x).values()):
        np.testing.assert_allclose(results[i], expected, atol=1e-4)


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(b, x, kind, direction, width=6, hidden=6):
    """A recurrent layer's sequence, steps first; every call has weights of its own."""
    gates, seed = GATES[kind] * hidden, len(b.nodes)
    kernels = (floats(1, gates, n, seed=seed + n) for n in (width, hidden))
    biases = floats(1, 2 * gates, seed=seed)
    y = b(kind, x, *kernels, biases, hidden_size=hidden, direction=direction)
    return b("Squeeze", y, np.array([1]))


def beside(b, x, kind):
    """As a Bidirectional layer has it."""
    return [recurrent(b, x, kind, direction) for direction in ("forward", "reverse")]


def stacked(b, x, kind):
    both = b("Concat", *beside(b, x, kind), axis=-1)
    return [recurrent(b, both, kind, direction, width=12) for direction in ("reverse", "forward")]


def with_a_skip(b, x, kind):
    y = recurrent(b, x, kind, "forward")
    return [b("Add", recurrent(b, y, kind, "forward"), y), b("Transpose", x, perm=[1, 0, 2])]


def batch_first_and_steps_first(b, x, kind):
    y = recurrent(b, x, kind, "forward")
    return [b("Relu", b("Transpose", y, perm=[1, 0, 2])), b("Relu", y), recurrent(b, x, kind, "reverse")]


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("behind", [beside, stacked, with_a_skip, batch_first_and_steps_first])
def test_what_reads_a_sequence_reads_its_steps_and_rows(behind, kind, rng):
    b = GraphBuilder(x=(5, "batch", 6))
    model = b.finish(*behind(b, b("Tanh", "x"), kind))
    x = rng.normal(size=(5, 3, 6)).astype("float32")
    results = compiled(model)(x)
    for i, expected in enumerate(run(model, x=x).values()):
        np.testing.assert_allclose(results[i], expected, atol=1e-5)


def test_a_float_graph_is_left_alone():
    b = GraphBuilder(x=("batch", 4, 6, 6))
    model = b.finish(b("Conv", "x", floats(2, 4, 3, 3)))
    read = openvino.Core().read_model(ir.to_proto(model).SerializeToString())
    before = [node.get_friendly_name() for node in read.get_ordered_ops()]
    repair(read, openvino)
    assert [node.get_friendly_name() for node in read.get_ordered_ops()] == before
