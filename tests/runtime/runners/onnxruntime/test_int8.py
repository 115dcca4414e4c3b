"""int8 graphs as ONNX Runtime computes them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from keras_trt.bundle import read_bundle
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime.runners.onnxruntime.int8 import fuse
from keras_trt.runtime.runners.onnxruntime.runner import ONNXRuntimeRunner


def plain(k, L, x):
    return L.Conv2D(8, 3, padding="same", bias_initializer="normal")(x)


def relu_pool(k, L, x):
    y = L.ReLU()(L.Conv2D(8, 3, padding="same", bias_initializer="normal")(x))
    return L.MaxPooling2D(3, 2, padding="same")(y)


def relu6_depthwise(k, L, x):
    y = L.ReLU(6.0)(L.DepthwiseConv2D(3, padding="same", bias_initializer="normal")(x))
    return L.Conv2D(8, 1)(y)


def two_convolutions_of_a_relu(k, L, x):
    y = L.Conv2D(8, 1, activation="relu")(x)
    return L.Add()([L.Conv2D(8, 3, padding="same")(y), L.Conv2D(8, 1)(y)])


def strided_and_grouped(k, L, x):
    return L.Conv2D(8, 3, strides=2, groups=2, activation="relu")(x)


def residual(k, L, x):
    y = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    return L.ReLU()(L.Add()([y, L.Conv2D(8, 3, padding="same", bias_initializer="normal")(y)]))


def linear_residual(k, L, x):
    y = L.Conv2D(8, 1)(x)
    return L.Add()([y, L.Conv2D(8, 3, padding="same")(L.ReLU(6.0)(L.Conv2D(16, 1)(y)))])


def swish(k, L, x):
    return L.Conv2D(8, 3, padding="same", bias_initializer="normal", activation="swish")(x)


SAME_ROUNDING = [plain, relu_pool, relu6_depthwise, strided_and_grouped]
MORE_ROUNDING = [residual, linear_residual, two_convolutions_of_a_relu, swish]


def bundle_of(k, block, x, folder):
    k.utils.set_random_seed(0)
    i = k.Input(x.shape[1:])
    y = block(k, k.layers, k.layers.Conv2D(8, 1)(i))
    y = k.layers.Conv2D(6, 1)(y)
    model = quantize_model(k.Model(i, y), calibration_data=x, min_sqnr=None, verbose=0)
    export(model, folder / "net", engine=None, calibration_data=x, verify=False, verbose=0)
    return read_bundle(folder / "net")


def off(runner, other, x):
    name, output = runner.inputs[0].name, runner.outputs[0].name
    a, b = (r.run({name: x})[output].astype(np.float64) for r in (runner, other))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("block", SAME_ROUNDING)
def test_moved_quantisers_round_as_the_graph_says(k, tmp_path, rng, block):
    x = rng.normal(size=(4, 12, 12, 8)).astype(np.float32)
    bundle = bundle_of(k, block, x, tmp_path)
    exact = ONNXRuntimeRunner(bundle, optimize=False)
    beyond = 3 * x  # of what the quantisers were calibrated on: they cut off
    assert off(ONNXRuntimeRunner(bundle, low_precision=False), exact, beyond) <= 1e-3
    assert off(ONNXRuntimeRunner(bundle), exact, beyond) <= 5e-3  # a bias may tip a value over


@pytest.mark.parametrize("block", MORE_ROUNDING)
def test_rounding_that_the_graph_does_not_have_is_fine(k, tmp_path, rng, block):
    x = rng.normal(size=(4, 12, 12, 8)).astype(np.float32)
    bundle = bundle_of(k, block, x, tmp_path)
    exact = ONNXRuntimeRunner(bundle, optimize=False)
    assert off(ONNXRuntimeRunner(bundle), exact, x) <= 0.03
    assert off(ONNXRuntimeRunner(bundle), exact, 3 * x) <= 0.03


@pytest.mark.parametrize("block", SAME_ROUNDING + MORE_ROUNDING)
def test_int8_kernels_are_found(k, tmp_path, rng, block):
    x = rng.normal(size=(4, 12, 12, 8)).astype(np.float32)
    bundle = bundle_of(k, block, x, tmp_path)
    model = ir.load(bundle.onnx_path)
    convolutions = sum(node.op_type == "Conv" for node in model.graph)
    fused = fuse(model, ir)
    assert fused == convolutions - 1  # the last one returns floats
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert kinds["QLinearConv"] == fused
    assert kinds["DequantizeLinear"] <= 2  # no weight is unpacked at each call
