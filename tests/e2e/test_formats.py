"""Every number format down the whole road: Keras, ONNX, the real TensorRT-RTX builder, a CPU runner."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from keras_trt.onnx_passes.quantized.grid import Format, to_grid
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from tests.nets import images, residual_net

SM89 = {"compute_capabilities": ["SM89"], "verbose": 0}


def dense_net(k):
    inputs = k.Input((64,), name="x")
    x = k.layers.BatchNormalization(name="bn")(k.layers.Dense(64, activation="relu", name="a")(inputs))
    return k.Model(inputs, k.layers.Dense(4, name="b")(x))


def vectors():
    return np.random.default_rng(0).normal(size=(32, 64)).astype("float32")


def types_of(path):
    model = onnx.load(path / "model.onnx")
    stored = {t.name: t.data_type for t in model.graph.initializer}
    return [
        stored[n.input[0]]
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in stored
    ]


def agrees(model, path, x):
    ours = load(path, verbose=0).predict(x, verbose=0)
    keras = model.predict(x, verbose=0)
    assert np.abs(ours - keras).max() < 0.02 * np.abs(keras).max()


def test_int8_weights_alone(k, tmp_path):
    x, _ = images()
    model = quantize_model(residual_net(k), "int8-weights")
    report = export(model, tmp_path / "b", **SM89)
    assert types_of(report.path) == [TensorProto.INT8] * 6
    assert report.weights == {"int8": 6}
    assert report.int8_layers == ()
    ours = load(report.path, runner="openvino", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(ours, model.predict(x, verbose=0), atol=1e-5)  # activations are not rounded


def test_int4_weights_in_blocks(k, tmp_path):
    model = quantize_model(dense_net(k), "int4-weights")
    report = export(model, tmp_path / "b", **SM89)
    graph = onnx.load(report.path / "model.onnx")
    assert graph.opset_import[0].version == 21
    assert types_of(report.path) == [TensorProto.INT4] * 2
    blocks = [a.i for n in graph.graph.node for a in n.attribute if a.name == "block_size"]
    assert blocks == [32, 32]
    agrees(model, report.path, vectors())


def test_fp8_weights_and_activations(k, tmp_path):
    x, _ = images()
    model = quantize_model(residual_net(k), "fp8", calibration_data=x, verbose=0)
    report = export(model, tmp_path / "b", **SM89)
    assert types_of(report.path) == [TensorProto.FLOAT8E4M3FN] * 6
    assert set(report.fp8_layers) == {"stem", "separable", "depthwise", "strided", "probabilities"}
    assert "fp8 layers" in str(report)
    agrees(model, report.path, x)


def test_fp8_needs_a_gpu_that_has_it(tmp_path):
    import keras

    x, _ = images()
    model = quantize_model(residual_net(keras), "fp8", calibration_data=x, verbose=0)
    with pytest.raises(Exception, match="(?i)sm80"):
        export(model, tmp_path / "b", compute_capabilities=["SM80"], verbose=0)
    assert not (tmp_path / "b").exists()


def test_a_format_for_each_layer(k, tmp_path):
    x, _ = images()
    scheme = {"probabilities": "fp8", ".*": "int8"}
    model = quantize_model(residual_net(k), scheme, calibration_data=x, verbose=0)
    report = export(model, tmp_path / "b", **SM89)
    assert report.fp8_layers == ("probabilities",)
    assert report.weights == {"int8": 5, "fp8": 1}
    agrees(model, report.path, x)


def test_one_tensor_in_two_formats_gets_a_quantiser_for_each(k, tmp_path):
    inputs = k.Input((64,), name="x")
    outputs = [k.layers.Dense(4, name="a")(inputs), k.layers.Dense(4, name="b")(inputs)]
    scheme = {"a": "fp8", "b": "int8"}
    model = quantize_model(k.Model(inputs, outputs), scheme, calibration_data=vectors(), verbose=0)
    report = export(model, tmp_path / "b", **SM89)
    assert (report.fp8_layers, report.int8_layers) == (("a",), ("b",))


def test_recurrent_weights_stay_float_numbers_on_the_grid(k, tmp_path):
    inputs = k.Input((6, 4), name="x")
    net = k.Model(inputs, k.layers.Dense(2, name="head")(k.layers.LSTM(5, name="lstm")(inputs)))
    x = np.random.default_rng(0).normal(size=(16, 6, 4)).astype("float32")
    model = quantize_model(net, calibration_data=x, verbose=0)
    report = export(model, tmp_path / "b", **SM89)
    assert report.weights == {"int8": 1}
    assert "Round" not in report.operators  # rounded once, not at every step
    agrees(model, report.path, x)


@pytest.mark.parametrize(("name", "block"), [("int8", None), ("fp8", None), ("int4", 32)])
def test_weights_on_a_grid_are_read_back_exactly(name, block):
    import tensorflow as tf

    from keras_trt._keras.backends import tensorflow_ops
    from keras_trt.twins.fake_quant import quantize_weights

    weight = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
    weight[:, 2] = 0
    on_grid = quantize_weights(tensorflow_ops, tf.constant(weight), (1,), name, block).numpy()
    values, scales = to_grid(on_grid, 0 if block else 1, "layer", Format(name, block))
    assert scales.shape == ((2, 6) if block else (6,))
    assert (scales > 0).all()
    full = np.repeat(scales, 32, axis=0) if block else scales
    np.testing.assert_allclose(values.astype("float32") * full, on_grid, rtol=1e-6, atol=1e-8)
    with pytest.raises(ExportError, match=rf"layer 'layer' are not on an {name} grid"):
        to_grid(weight, 0 if block else 1, "layer", Format(name, block))


def test_int8_with_bfloat16_is_computed_rightly_on_a_cpu(tmp_path):
    import keras

    x, _ = images()
    model = quantize_model(residual_net(keras), calibration_data=x, verbose=0)
    report = export(model, tmp_path / "b", precision="int8+bf16", **SM89)
    found = load(report.path, runner="openvino", verbose=0).predict(x, verbose=0)
    expected = model.predict(x, verbose=0)
    assert np.linalg.norm(found - expected) <= 0.1 * np.linalg.norm(expected)
