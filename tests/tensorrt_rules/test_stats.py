"""The counts a report shows: multiply-accumulates, int8 share, sparsity."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from keras_trt.exporting.export import export
from keras_trt.onnx_passes.quantized.weights import QuantizeWeightsPass
from keras_trt.quantize import quantize_model
from keras_trt.tensorrt_rules.stats import has_two_of_four, int8_share, op_counts, products
from tests.onnx_passes.quantized.test_weights import on_grid
from tests.onnx_tools import GraphBuilder, floats


def test_multiply_accumulates_are_counted_for_one_sample():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Conv", "x", floats(6, 2, 3, 3), group=2, pads=[1, 1, 1, 1], strides=[2, 2], name="conv/Conv")
    y = b("ConvTranspose", y, floats(6, 5, 2, 2), strides=[2, 2], name="up/ConvTranspose")
    y = b("ReduceMean", y, np.array([2, 3], np.int64), keepdims=0)
    model = b.finish(b("MatMul", y, floats(5, 7), name="dense/MatMul"))
    found = {p.layer: p.macs for p in products(model, ["conv", "up", "dense"])}
    assert found == {"conv": 6 * 4 * 4 * 2 * 9, "up": 6 * 4 * 4 * 5 * 4, "dense": 35}


def test_the_int8_share_counts_arithmetic_not_layers():
    b = GraphBuilder(x=("batch", 4, 8, 8))
    y = b("Conv", b.qdq("x", 0.02), on_grid((8, 4, 1, 1), 0), name="a/Conv")
    model = b.finish(b("Conv", y, floats(24, 8, 1, 1), name="b/Conv"))
    QuantizeWeightsPass(["a", "b"], quantized={"a": 1})(model)
    found = list(products(model, ["a", "b"]))
    assert [p.int8 for p in found] == [True, False]
    assert int8_share(found) == pytest.approx(32 / (32 + 192))
    assert op_counts(model)["Conv"] == 2


def test_two_of_four_runs_along_the_input_channels():
    weight = floats(4, 8, 3, 3)
    weight[:, 0::4] = weight[:, 3::4] = 0
    assert has_two_of_four(weight, 1)
    assert not has_two_of_four(weight, 0)
    assert not has_two_of_four(weight[:, :6], 1)  # no multiple of four


def parsed(text):
    """A model of opset 19 in ONNX's text form, its shapes inferred."""
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 19]> {text}')
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def macs(model):
    return {p.node: (p.macs, p.computes) for p in products(model, ())}


@pytest.mark.parametrize("op_type,gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_operators_count_every_step_of_both_directions(op_type, gates):
    b = GraphBuilder(x=(50, "batch", 6))
    kernels = floats(2, gates * 8, 6), floats(2, gates * 8, 8)
    model = b.finish(b(op_type, "x", *kernels, direction="bidirectional", hidden_size=8, name="cell"))
    (product,) = products(model, ())
    assert product.macs == 50 * 2 * gates * 8 * (6 + 8)
    assert (product.computes, product.zeros, product.two_of_four) == ("float", 0.0, False)


def test_what_stands_in_a_loop_counts_once_per_round():
    model = parsed(
        """g (float[batch, 4] x) => (float[batch, 4] y)
        <int64 trips = {7}, bool go = {1}, float[4, 4] w = {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}>
        {
            once = MatMul(x, w)
            y = Loop <body = body (int64 i, bool on, float[batch, 4] state) =>
                (bool again, float[batch, 4] next) {
                again = Identity(on)
                next = MatMul(state, w)
            }> (trips, go, once)
        }"""
    )
    assert sorted(p.macs for p in products(model, ())) == [16, 7 * 16]


def test_a_loop_whose_rounds_only_the_data_knows_counts_once():
    model = parsed(
        """g (int64 n, bool go, float[batch, 4] x, float[4, 4] w) => (float[batch, 4] y)
        {
            y = Loop <body = body (int64 i, bool on, float[batch, 4] state) =>
                (bool again, float[batch, 4] next) {
                again = Identity(on)
                next = MatMul(state, w)
            }> (n, go, x)
        }"""
    )
    assert [p.macs for p in products(model, ())] == [16]


def test_a_scan_counts_once_per_element_of_the_sequence():
    model = parsed(
        """g (float[1, 4] s, float[9, 1, 4] x, float[4, 4] w) => (float[1, 4] y, float[9, 1, 4] ys)
        {
            y, ys = Scan <num_scan_inputs = 1, body = body (float[1, 4] state, float[1, 4] step) =>
                (float[1, 4] next, float[1, 4] out) {
                next = MatMul(state, w)
                out = Add(next, step)
            }> (s, x)
        }"""
    )
    assert [p.macs for p in products(model, ())] == [9 * 16]


@pytest.mark.parametrize(
    "equation,shapes,expected",
    [
        ("bij,jk->bik", [("batch", 5, 6), (6, 7)], 5 * 6 * 7),
        ("b...j,jk->b...k", [("batch", 2, 5, 6), (6, 7)], 2 * 5 * 6 * 7),
        ("bhqd,bhkd->bhqk", [("batch", 2, 5, 8), ("batch", 2, 9, 8)], 2 * 5 * 9 * 8),
        ("bij->bji", [("batch", 5, 6)], 0),
    ],
)
def test_an_einsum_counts_all_combinations_of_its_indices(equation, shapes, expected):
    b = GraphBuilder(**{f"x{i}": shape for i, shape in enumerate(shapes)})
    model = b.finish(b("Einsum", *(f"x{i}" for i in range(len(shapes))), equation=equation, name="e"))
    assert macs(model) == {"e": (expected, "float")}


def test_a_convolution_by_a_kernel_that_is_computed_counts_too():
    b = GraphBuilder(x=("batch", 4, 8, 8), w=(6, 4, 3, 3))
    assert macs(b.finish(b("Conv", "x", "w", name="c"))) == {"c": (6 * 6 * 6 * 4 * 9, "float")}


def test_a_recurrent_layer_in_float_is_part_of_the_work(k, tmp_path):
    inputs = k.Input((10, 6))
    model = k.Model(inputs, k.layers.Dense(4, name="head")(k.layers.LSTM(8, name="rnn")(inputs)))
    data = np.random.default_rng(0).normal(size=(8, 10, 6)).astype("float32")
    quantized = quantize_model(model, calibration_data=data, verbose=0)
    report = export(quantized, tmp_path / "net", engine=None, verbose=0)
    assert report.int8_mac_share == pytest.approx(32 / (32 + 10 * 32 * (6 + 8)))
    assert report.float_layers[0].startswith("rnn")
