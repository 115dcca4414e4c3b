"""The float graph of a quantised bundle is the one that the same weights have without quantisers."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import onnx
import pytest

import keras_trt
from keras_trt.building.unquantized import unquantized
from keras_trt.bundle import read_bundle
from keras_trt.bundle.probe import read_probe, sample
from keras_trt.engine import EngineConfig, plan_for
from keras_trt.onnx_passes.quantized.remove import RemoveQuantizersPass
from keras_trt.runtime.distance import distance
from tests.onnx_tools import run
from tests.small_onnx import conv_model, save_bundle

QUANTIZERS = {"QuantizeLinear", "DequantizeLinear"}
ADA = EngineConfig(compute_capabilities="SM89")


def trained(k):
    """Which of four corners of an image is bright, by a network with a pool, a sum and a layout change."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 256)
    x = rng.normal(0, 0.3, (256, 8, 8, 1)).astype(np.float32)
    for i, corner in enumerate(y):
        row, column = 4 * (corner // 2), 4 * (corner % 2)
        x[i, row : row + 4, column : column + 4] += 1
    image = k.Input((8, 8, 1))
    first = k.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    second = k.layers.Conv2D(8, 3, padding="same", use_bias=False)(first)
    second = k.layers.ReLU()(k.layers.BatchNormalization()(second))
    pooled = k.layers.MaxPooling2D(4)(k.layers.Add()([first, second]))
    model = k.Model(image, k.layers.Dense(4)(k.layers.Flatten()(pooled)))
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(k.optimizers.Adam(0.01), loss)
    model.fit(x, y, epochs=3, verbose=0)
    return keras_trt.quantize_model(model, calibration_data=x, recover=None, verbose=0), x


def with_rounded_kernels(model):
    """The float model of the same int8 weights, per output channel."""
    for layer in model.layers:
        if layer.weights and hasattr(layer, "kernel"):
            kernel, *bias = layer.get_weights()
            scale = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / np.float32(127)
            layer.set_weights([np.rint(kernel / scale) * scale, *bias])
    return model


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def bundles(request, tmp_path_factory):
    """One network's bundles: as it is quantised, in float32 with the same weights; and rows."""
    k = importlib.import_module(request.param)
    k.utils.set_random_seed(0)
    model, x = trained(k)
    folder = tmp_path_factory.mktemp("bundles")
    models = {"int8": model, "int8+fp16": model, "float32": with_rounded_kernels(keras_trt.strip(model))}
    for precision, exported in models.items():
        options = {} if precision == "float32" else {"calibration_data": x, "precision": precision}
        options |= {"precision": None} if precision == "int8" else {}
        keras_trt.export(exported, folder / precision, engine=None, verbose=0, **options)
    return {precision: read_bundle(folder / precision) for precision in models}, x[:32]


def answers(bundle, x):
    (y,) = run(bundle.onnx_path, **{bundle.manifest.inputs[0].name: x}).values()
    return y


def test_without_its_quantisers_a_graph_is_that_of_the_stripped_model(bundles):
    import onnx_ir as ir

    held, x = bundles
    graph = ir.load(held["int8"].onnx_path)
    RemoveQuantizersPass()(graph)
    (y,) = run(graph, **{held["int8"].manifest.inputs[0].name: x}).values()
    np.testing.assert_allclose(y, answers(held["float32"], x), rtol=1e-4, atol=1e-4)
    assert distance(answers(held["int8"], x), y)[0] > 1e-3, "it rounds"


@pytest.mark.parametrize("precision", ["int8", "int8+fp16"])
def test_in_float16_it_stays_near_the_float_model_and_within_the_probe_s_bounds(bundles, precision, tmp_path):
    held, x = bundles
    low = unquantized(held[precision], "fp16", tmp_path)
    y = answers(low, x)
    assert y.dtype == np.float32
    assert distance(answers(held["float32"], x), y)[0] < 3e-3
    probe = read_probe(held[precision])
    (rounded,) = probe.expected.values()
    (rows,) = probe.inputs.values()
    assert distance(rounded.sample, sample(answers(low, rows.astype(np.float32))))[0] < rounded.allowed
    plan = plan_for(low, "tensorrt_rtx", ADA)
    assert set(plan.audit.precisions) == {"float16"}
    assert plan_for(held[precision], "tensorrt_rtx", ADA).audit.precisions.keys() >= {"int8"}


def test_a_float_part_in_bfloat16_stays_that(tmp_path):
    model = conv_model()
    for tensor in model.graph.initializer:
        if tensor.name in ("kernel_scale", "x_scale", "bias"):
            array = onnx.numpy_helper.to_array(tensor).astype(onnx.helper.tensor_dtype_to_np_dtype(16))
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    first, last = model.graph.node[0], model.graph.node[-1]
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["x_low"], to=16))
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    first.input[0] = "x_low"
    last = model.graph.node[-1]
    last.output[0] = "y_low"
    model.graph.node.append(onnx.helper.make_node("Cast", ["y_low"], ["y"], to=1))
    model.opset_import[0].version = 22
    bundle = read_bundle(save_bundle(tmp_path / "b", model, precision="int8+bf16", opset=22))
    (tmp_path / "low").mkdir()
    low = onnx.load(unquantized(bundle, "bf16", tmp_path / "low").onnx_path)
    assert [node.op_type for node in low.graph.node] == ["Cast", "Conv", "Relu", "Cast"]
    assert {tensor.data_type for tensor in low.graph.initializer} == {onnx.TensorProto.BFLOAT16}


def test_a_layer_whose_range_comes_near_the_end_of_float16_stays_in_float32(tmp_path):
    ranges = {"conv1/input": 40_000.0}
    bundle = read_bundle(save_bundle(tmp_path / "b", conv_model(), precision="int8"))
    far = dataclasses.replace(
        bundle, manifest=dataclasses.replace(bundle.manifest, quantization={"ranges": ranges})
    )
    kinds = {}
    for name, one in {"near": bundle, "far": far}.items():
        (tmp_path / name).mkdir()
        low = onnx.load(unquantized(one, "fp16", tmp_path / name).onnx_path)
        assert not QUANTIZERS & {node.op_type for node in low.graph.node}
        kinds[name] = {t.data_type for t in low.graph.initializer if t.name.startswith("kernel")}
    assert kinds == {"near": {onnx.TensorProto.FLOAT16}, "far": {onnx.TensorProto.FLOAT}}
