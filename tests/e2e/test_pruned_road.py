"""Zeros made in Keras arrive in the int8 weights that TensorRT reads."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import keras_trt
from keras_trt.prune.masks import is_n_of_m

X = np.random.default_rng(0).random((16, 8, 8, 16), dtype="float32")
Y = np.arange(16) % 8


def net(k):
    inputs = k.Input((8, 8, 16), name="image")
    h = k.layers.Conv2D(32, 3, padding="same", use_bias=False, name="conv")(inputs)
    h = k.layers.ReLU()(k.layers.BatchNormalization(name="bn")(h))
    h = k.layers.Conv2D(32, 1, name="pointwise", activation="relu")(h)
    h = k.layers.GlobalAveragePooling2D()(h)
    return k.Model(inputs, k.layers.Dense(8, activation="softmax", name="head")(h))


def int8_weights(bundle):
    """The int8 initialisers of a bundle's ONNX file, matrices of weights only."""
    graph = onnx.load(bundle / "model.onnx").graph
    arrays = [numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    return [array for array in arrays if array.ndim >= 2]


def trained(k, model):
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, Y, epochs=2, batch_size=8, verbose=0)
    return model


@pytest.mark.parametrize("order", ["prune first", "quantise first"])
def test_two_of_four_survives_training_in_int8_in_either_order(k, tmp_path, order):
    def prune(model):
        return keras_trt.prune_model(model, pattern="2:4", only=["conv", "pointwise", "head"])

    def quantise(model):
        return keras_trt.quantize_model(model, calibration_data=X, verbose=0)

    model = quantise(prune(net(k))) if order == "prune first" else prune(quantise(net(k)))
    report = keras_trt.export(trained(k, model), tmp_path / "b", engine=None, verbose=0)
    weights = int8_weights(tmp_path / "b")
    assert len(weights) == 3
    for weight in weights:
        axis = 1 if weight.ndim == 4 else 0  # ONNX: Conv (out, in, h, w), MatMul (in, out)
        assert is_n_of_m(weight, 2, 4, axis)
    assert set(report.sparse_layers) == {"conv", "pointwise", "head"}
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert set(manifest["sparsity"]["2:4"]) == {"conv", "pointwise", "head"}


@pytest.mark.parametrize("pattern,flags", [("2:4", ["SPARSE_WEIGHTS"]), ("unstructured", [])])
def test_the_engine_builder_is_told_of_two_of_four_and_of_nothing_else(
    k, tmp_path, monkeypatch, pattern, flags
):
    from keras_trt.engine import _trt

    seen, set_flag = [], _trt.set_flag
    monkeypatch.setattr(
        _trt,
        "set_flag",
        lambda trt, config, flag, *, on=True: (seen.append(flag), set_flag(trt, config, flag, on=on)),
    )
    model = keras_trt.prune_model(net(k), 0.5, pattern=pattern)
    quantised = keras_trt.quantize_model(model, calibration_data=X, verbose=0)
    keras_trt.export(
        quantised, tmp_path / "b", engine="tensorrt_rtx", compute_capabilities=["SM89"], verbose=0
    )
    assert seen == flags


@pytest.mark.parametrize("order", ["prune first", "quantise first"])
def test_unstructured_zeros_are_counted_on_the_exported_int8_weights(k, tmp_path, order):
    model = net(k)
    if order == "prune first":
        model = keras_trt.quantize_model(keras_trt.prune_model(model, 0.8), calibration_data=X, verbose=0)
    else:
        model = keras_trt.prune_model(keras_trt.quantize_model(model, calibration_data=X, verbose=0), 0.8)
    keras_trt.export(trained(k, model), tmp_path / "b", engine=None, verbose=0)
    weights = int8_weights(tmp_path / "b")
    assert len(weights) == 3
    for weight in weights:
        assert (weight == 0).mean() >= round(0.8 * weight.size) / weight.size


def test_channels_that_are_all_zero_still_build(k, tmp_path):
    model = net(k)
    for name in ("conv", "pointwise"):
        kernel = model.get_layer(name).kernel.numpy()
        kernel[..., :5] = 0
        model.get_layer(name).kernel.assign(kernel)
    quantised = keras_trt.quantize_model(keras_trt.prune_model(model, 0.5), calibration_data=X, verbose=0)
    report = keras_trt.export(
        quantised, tmp_path / "b", engine="tensorrt_rtx", compute_capabilities=["SM89"], verbose=0
    )
    assert report.plans
    graph = onnx.load(tmp_path / "b" / "model.onnx").graph
    scales = {node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
    found = [numpy_helper.to_array(t) for t in graph.initializer if t.name in scales]
    assert found
    assert all((scale > 0).all() for scale in found)


def test_a_model_with_fewer_channels_goes_the_whole_road(k, tmp_path):
    small = keras_trt.prune_model(net(k), 0.5, pattern="channel")
    quantised = keras_trt.quantize_model(small, calibration_data=X, verbose=0)
    keras_trt.export(trained(k, quantised), tmp_path / "b", engine=None, verbose=0)
    assert sorted(w.shape for w in int8_weights(tmp_path / "b")) == [(16, 8), (16, 16, 1, 1), (16, 16, 3, 3)]
    predicted = keras_trt.load(tmp_path / "b").predict(X, verbose=0)
    assert np.abs(predicted - quantised.predict(X, verbose=0)).max() < 0.02


def test_a_fused_quantised_model_exports_to_the_same_numbers(k, tmp_path):
    model = trained(k, net(k))
    quantised = keras_trt.quantize_model(model, calibration_data=X, verbose=0)
    fused = keras_trt.fuse_model(quantised)
    for name, one in (("a", quantised), ("b", fused)):
        keras_trt.export(one, tmp_path / name, engine=None, verbose=0)
    a, b = (keras_trt.load(tmp_path / name).predict(X, verbose=0) for name in "ab")
    assert np.abs(a - b).max() < 5e-3


def test_tied_embeddings_are_pruned_once_and_export(tmp_path, rng):
    import keras as k  # only Keras 3 has an Embedding that can be called in reverse

    inputs = k.Input((6,), dtype="int32", name="tokens")
    shared = (
        k.layers.ReversibleEmbedding(20, 8, name="shared")
        if hasattr(k.layers, "ReversibleEmbedding")
        else None
    )
    if shared is None:
        pytest.skip("this Keras has no ReversibleEmbedding")
    model = k.Model(inputs, shared(shared(inputs), reverse=True))
    pruned = keras_trt.prune_model(model, 0.5, only="shared")
    assert (pruned.get_layer("shared").embeddings.numpy() == 0).mean() == 0.5
    pruned.compile("adam", k.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = rng.integers(0, 20, (8, 6))
    pruned.fit(tokens, tokens, verbose=0)
    assert (pruned.get_layer("shared").embeddings.numpy() == 0).mean() == 0.5
