"""TF-MOT's own `quantize_apply` with the scheme for TensorRT."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
import tf2onnx
import tf_keras

from keras_trt.tfmot import TensorRTQuantizeScheme
from keras_trt.tfmot.accept import accept
from keras_trt.tfmot.configs import activation_quantizer, quantize_config
from keras_trt.tfmot.convert import convert
from tests.nets import residual_net
from tests.tfmot_models import chain_net, fitted, float_net, predict, qat, quadrants, save_h5


def applied(model):
    return qat.quantize_apply(qat.quantize_annotate_model(model), scheme=TensorRTQuantizeScheme())


@pytest.fixture(scope="module")
def net():
    return float_net()


@pytest.fixture(scope="module")
def quantized(net):
    return fitted(applied(net), epochs=2)


def wrapped(model):
    """{layer name: its config} of the layers that TF-MOT wrapped."""
    return {
        layer.layer.name: layer.quantize_config
        for layer in model.layers
        if type(layer).__name__ == "QuantizeWrapperV2"
    }


def test_weights_and_tensors_are_quantised_where_tensorrt_wants_them(quantized):
    configs = wrapped(quantized)
    kernels = {name for name, config in configs.items() if config.kernels}
    outputs = {name for name, config in configs.items() if config.quantize_output}
    assert {"stem", "depthwise", "strided", "probabilities"} <= kernels
    assert {"stem_relu", "pad", "flatten", "strided"} <= outputs
    assert "depthwise" not in outputs  # this branch of the addition fuses with it
    assert "probabilities" not in outputs  # model outputs stay float
    assert not {"stem_bn", "add", "max", "both", "dropout"} & configs.keys()


def test_activations_lie_on_255_symmetric_steps(quantized):
    layer = quantized.get_layer("quant_stem_relu")
    amax = float(next(w for w in layer.weights if "amax" in w.name).numpy())
    cut = tf_keras.Model(quantized.inputs, layer.get_output_at(-1))
    steps = cut.predict(quadrants(16)[0], verbose=0) / (amax / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert 100 < np.abs(steps).max() <= 127.001


def test_ranges_start_from_the_first_batch_and_follow_the_data():
    quantizer = activation_quantizer()(momentum=0.5)
    owner = tf_keras.layers.Layer()
    held = quantizer.build(None, "x", owner)
    quantizer(tf.constant([1.0, -3.0]), True, held)
    assert float(held["amax"].numpy()) == 3.0
    quantizer(tf.constant([1.0, -1.0]), True, held)
    assert float(held["amax"].numpy()) == 2.0
    quantizer(tf.constant([9.0]), False, held)
    assert float(held["amax"].numpy()) == 2.0
    assert quantizer.get_config() == {"momentum": 0.5}


def test_an_untrained_model_predicts_nearly_as_the_float_one(net):
    assert np.abs(predict(applied(net)) - predict(net)).mean() < 0.02


def test_training_learns_and_moves_the_float_weights(net, quantized):
    accuracy = quantized.evaluate(*quadrants(seed=3), verbose=0, return_dict=True)["accuracy"]
    assert accuracy > 0.5  # of four classes
    before = net.get_layer("strided").kernel.numpy()
    after = accept(quantized).model.get_layer("strided").kernel.numpy()
    assert not np.array_equal(before, after)


def test_the_converted_model_computes_what_was_trained():
    """Without branches each tensor is quantised once on either side, so only float rounding differs."""
    model = fitted(applied(chain_net()), epochs=2)
    converted = convert(model)
    np.testing.assert_allclose(predict(converted.model), predict(model), atol=1e-5)
    assert {tensor.learned.loss for tensor in converted.inputs} == {1.0}


def test_the_stock_exporter_writes_what_tensorrts_parser_takes(quantized):
    trt = pytest.importorskip("tensorrt_rtx")
    spec = [tf.TensorSpec((None, 8, 8, 3), tf.float32, name="x")]
    function = tf.function(lambda x: quantized(x, training=False), input_signature=spec)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=spec, opset=18)
    operators = Counter(node.op_type for node in proto.graph.node)
    assert operators["QuantizeLinear"] >= 7
    assert "If" not in operators
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(proto.SerializeToString()), [
        str(parser.get_error(i)) for i in range(parser.num_errors)
    ]


def test_a_saved_model_loads_with_tfmots_own_scope(quantized, tmp_path):
    save_h5(quantized, tmp_path / "model.h5")
    with qat.quantize_scope():
        loaded = tf_keras.models.load_model(tmp_path / "model.h5")
    assert np.array_equal(predict(loaded), predict(quantized))
    assert np.array_equal(predict(accept(loaded).model), predict(accept(quantized).model))


def test_a_config_of_the_users_own_is_kept():
    own = quantize_config()((), True)
    model = tf_keras.Sequential(
        [
            qat.quantize_annotate_layer(tf_keras.layers.Dense(4, input_shape=(4,), name="a"), own),
            qat.quantize_annotate_layer(tf_keras.layers.Dense(4, name="b")),
        ]
    )
    configs = wrapped(qat.quantize_apply(model, scheme=TensorRTQuantizeScheme()))
    assert configs["a"].kernels == ()
    assert configs["b"].kernels == ("kernel",)


def test_layers_that_tfmots_default_refuses_stay_float():
    layers = tf_keras.layers

    def net():
        return tf_keras.Sequential(
            [
                layers.Rescaling(0.5, input_shape=(8, 8, 3), name="rescaling"),
                layers.Conv2D(4, 3, name="conv"),
                layers.LayerNormalization(name="norm"),
                layers.GlobalMaxPooling2D(name="pool"),
                layers.Dense(4, activation="softmax", name="dense"),
            ]
        )

    with pytest.raises(RuntimeError, match="not supported"):
        qat.quantize_model(net())
    model = fitted(applied(net()), epochs=1)
    assert {name for name, config in wrapped(model).items() if config.kernels} == {"conv", "dense"}
    assert all(tensor.learned is not None for tensor in convert(model).inputs)


def test_integer_inputs_are_not_quantised():
    tokens = tf_keras.Input((5,), dtype="int32", name="tokens")
    x = tf_keras.layers.Embedding(10, 4, name="embedding")(tokens)
    x = tf_keras.layers.Flatten(name="flatten")(x)
    model = applied(tf_keras.Model(tokens, tf_keras.layers.Dense(2, name="dense")(x)))
    assert not [layer for layer in model.layers if type(layer).__name__ == "QuantizeLayer"]
    assert wrapped(model)["dense"].kernels == ("kernel",)
    assert model.predict(np.zeros((2, 5), np.int32), verbose=0).shape == (2, 2)


def test_the_users_model_is_left_as_it_was():
    model = residual_net(tf_keras)
    weights = model.get_weights()
    fitted(applied(model), epochs=1)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
