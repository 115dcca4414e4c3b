"""Kinds of layers that need care on the way: each is exported, compared with Keras and built by TensorRT."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from tests.onnx_tools import build


def sequential(k, shape, *layers, dtype="float32"):
    return k.Sequential([k.Input(shape, dtype=dtype, name="x"), *layers])


def functional(k, shape, call, dtype="float32"):
    x = k.Input(shape, dtype=dtype, name="x")
    return k.Model(x, call(k, x))


def attention(k, x):
    return k.layers.MultiHeadAttention(2, 4)(x, x)


def argument(name):
    def call(k, x):
        import tensorflow as tf

        return getattr(k.ops if hasattr(k, "ops") else tf.math, name)(x, axis=-1)

    return call


def randomised(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if "BatchNormalization" in type(layer).__name__:
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


# Each entry also says what its graph must not hold any more.
CASES = {
    "lstm": lambda k: sequential(k, (5, 4), k.layers.LSTM(6)),
    "lstm with a mask": lambda k: sequential(k, (5, 4), k.layers.Masking(), k.layers.LSTM(3)),
    "gru": lambda k: sequential(k, (5, 4), k.layers.GRU(6, return_sequences=True)),
    "simple rnn": lambda k: sequential(k, (5, 4), k.layers.SimpleRNN(6)),
    "bidirectional": lambda k: sequential(k, (5, 4), k.layers.Bidirectional(k.layers.LSTM(6))),
    "multi-head attention": lambda k: functional(k, (6, 8), attention),
    "einsum dense": lambda k: sequential(
        k, (5, 4), k.layers.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")
    ),
    "embedding": lambda k: sequential(k, (5,), k.layers.Embedding(10, 4), dtype="int32"),
    "layer normalization": lambda k: sequential(k, (5, 4), k.layers.LayerNormalization()),
    "gelu": lambda k: sequential(k, (8,), k.layers.Dense(4, activation="gelu")),
    "argmax": lambda k: functional(k, (4, 5), argument("argmax")),
    "argmin": lambda k: functional(k, (4, 5), argument("argmin")),
    "grouped convolution": lambda k: sequential(k, (8, 8, 4), k.layers.Conv2D(8, 3, groups=2)),
    "causal conv1d": lambda k: sequential(
        k, (16, 4), k.layers.Conv1D(6, 3, padding="causal"), k.layers.BatchNormalization()
    ),
    "conv3d": lambda k: sequential(k, (6, 6, 6, 2), k.layers.Conv3D(4, 3), k.layers.BatchNormalization()),
    "transposed convolution": lambda k: sequential(
        k, (8, 8, 4), k.layers.Conv2DTranspose(6, 3, strides=2, padding="same"), k.layers.BatchNormalization()
    ),
    "depthwise with a multiplier": lambda k: sequential(
        k, (8, 8, 4), k.layers.DepthwiseConv2D(3, depth_multiplier=2), k.layers.BatchNormalization()
    ),
    "dense with batch normalization": lambda k: sequential(
        k, (5, 4), k.layers.Dense(3), k.layers.BatchNormalization()
    ),
    "nearest upsampling": lambda k: sequential(k, (8, 8, 4), k.layers.UpSampling2D(2)),
    "resizing": lambda k: sequential(k, (9, 9, 3), k.layers.Resizing(6, 6)),
    "normalization": lambda k: sequential(
        k, (9, 9, 3), k.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 3.0])
    ),
    "rescaling of bytes": lambda k: sequential(k, (9, 9, 3), k.layers.Rescaling(1 / 255.0), dtype="uint8"),
    "random augmentation": lambda k: sequential(
        k, (8, 8, 3), k.layers.RandomFlip(), k.layers.RandomRotation(0.1), k.layers.Conv2D(2, 1)
    ),
    "discretization": lambda k: sequential(k, (4,), k.layers.Discretization(bin_boundaries=[0.0, 0.5, 1.0])),
    "max pooling of a padded relu": lambda k: sequential(
        k, (8, 8, 3), k.layers.ReLU(), k.layers.ZeroPadding2D(1), k.layers.MaxPooling2D(3, 2)
    ),
    "flatten and dense": lambda k: sequential(
        k, (4, 4, 6), k.layers.Conv2D(3, 1), k.layers.Flatten(), k.layers.Dense(3)
    ),
}
GONE = {
    "causal conv1d": {"Mul"},
    "conv3d": {"Mul", "Add"},
    "transposed convolution": {"Mul", "Add"},
    "depthwise with a multiplier": {"Mul", "Add"},
    "dense with batch normalization": {"Mul"},
    "argmax": {"Where", "Mul"},
    "max pooling of a padded relu": {"Pad"},
    "random augmentation": {"RandomUniform"},
}


@pytest.mark.parametrize("case", CASES)
def test_the_layer_reaches_tensorrt_with_keras_numbers(k, case, tmp_path):
    report = export(randomised(CASES[case](k)), tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 1e-5
    assert not GONE.get(case, set()) & set(report.operators)
    build(tmp_path / "net" / "model.onnx")


@pytest.mark.parametrize("case", ["gru", "lstm with a mask"])
def test_bodies_of_loops_give_the_same_bytes_too(k, case, tmp_path):
    model = CASES[case](k)
    for name in ("a", "b"):
        export(model, tmp_path / name, engine=None, verify=False, verbose=0)
    assert (tmp_path / "a" / "model.onnx").read_bytes() == (tmp_path / "b" / "model.onnx").read_bytes()


def test_an_operator_that_onnx_lacks_is_an_error_that_names_the_layer(k, tmp_path):
    import tensorflow as tf

    from keras_trt.errors import ExportError

    class LogGamma(k.layers.Layer):
        def call(self, x):
            return tf.math.lgamma(x)

        def compute_output_shape(self, shape):
            return shape

    model = sequential(k, (3,), k.layers.Dense(2), LogGamma(name="log_gamma"))
    with pytest.raises(ExportError, match="Layer 'log_gamma' uses the TensorFlow operator `Lgamma`"):
        export(model, tmp_path / "net", engine=None, verbose=0)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("inner", ["Conv2D", "Dense"])
def test_a_quantised_layer_that_runs_under_its_wrapper_s_name_is_int8(k, inner, tmp_path):
    layer = k.layers.Dense(3) if inner == "Dense" else k.layers.Conv2D(3, 3)
    shape = (4, 5) if inner == "Dense" else (3, 6, 6, 2)
    model = quantize_model(
        sequential(k, shape, k.layers.TimeDistributed(layer)),
        calibration_data=np.ones((2, *shape)),
        verbose=0,
    )
    report = export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.int8_mac_share == 1.0
    build(tmp_path / "net" / "model.onnx")
