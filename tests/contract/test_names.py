"""Layers that share a name, or are named like a scope of another, stay apart on the whole road."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.exporting.export import export
from keras_trt.fuse.fuse_model import fuse_model
from keras_trt.models.load_model import load_model
from keras_trt.models.report import report
from keras_trt.models.save_model import save_model
from keras_trt.prune.facts import sparsity_report
from keras_trt.prune.prune_model import prune_model
from keras_trt.quantize.convert import set_ranges
from keras_trt.quantize.inventory import inventory
from keras_trt.quantize.quantize_model import quantize_model
from keras_trt.runtime import load

X = np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32)


def twins(k):
    """A model with a layer around two dense layers of one name."""

    @k.saving.register_keras_serializable(f"tests_names_{k.__name__}")
    class Pair(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.a = k.layers.Dense(8, activation="relu", name="same")
            self.b = k.layers.Dense(8, name="same")

        def build(self, input_shape):
            self.a.build(input_shape)
            self.b.build(input_shape)
            self.built = True

        def call(self, x):
            return self.b(self.a(x))

    x = k.Input((8,))
    return k.Model(x, k.layers.Dense(3, name="head")(Pair(name="pair")(x)))


def weighted(path):
    """By node name, whether a product of an exported graph takes int8 weights."""
    graph = onnx.load(path / "model.onnx").graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    return {
        node.name: makers.get(node.input[1]) == "DequantizeLinear"
        for node in graph.node
        if node.op_type in ("MatMul", "Gemm", "Conv")
    }


def exported(model, x, path):
    """What the exported graph says of its products, after checking its numbers."""
    export(model, path, engine=None, verbose=0, verify=False)
    found = load(path, runner="onnxruntime").predict(x, verbose=0)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=1e-5)
    return weighted(path)


@pytest.mark.parametrize("skip", ["dense", "dense_1"])
def test_skip_leaves_out_the_layer_named_and_no_other(k, tmp_path, skip):
    x, relu = k.Input((8,)), k.layers.ReLU
    d, e = k.layers.Dense(8, name="dense"), k.layers.Dense(8, name="dense_1")
    model = k.Model(x, k.layers.Dense(2, name="out")(d(relu()(e(relu()(d(x)))))))
    quantized = quantize_model(model, calibration_data=X, skip=skip, verbose=0)
    assert exported(quantized, X, tmp_path / "b") == {
        "dense/MatMul": skip != "dense",
        "dense_1/MatMul": skip != "dense_1",
        "dense/MatMul_1": skip != "dense",
        "out/MatMul": True,
    }


@pytest.mark.parametrize("by", ["path", "object"])
def test_one_of_two_layers_of_one_name_is_left_float(k, tmp_path, by):
    model = twins(k)
    skip = "pair/same" if by == "path" else model.get_layer("pair").a
    quantized = quantize_model(model, calibration_data=X, skip=skip, verbose=0)
    assert {t.layer for t in inventory(quantized)} == {"pair/same#2", "head"}
    found = exported(quantized, X, tmp_path / "b")
    assert found == {"pair/same/MatMul": False, "pair/same#2/MatMul": True, "head/MatMul": True}
    save_model(quantized, tmp_path / "m.keras")
    assert inventory(load_model(tmp_path / "m.keras")) == inventory(quantized)


def test_each_of_two_layers_of_one_name_has_its_row_and_its_range(k):
    quantized = quantize_model(twins(k), calibration_data=X, verbose=0)
    set_ranges(flavor_of(quantized), quantized, {"pair/same": 3.0, "pair/same#2": 5.0})
    rows = {row["layer"]: row["amax"] for row in report(quantized).rows}
    assert (rows["pair/same"], rows["pair/same#2"]) == ("3", "5")
    set_ranges(flavor_of(quantized), quantized, {"same": 7.0})
    ranges = {t.layer: t.amax for t in inventory(quantized) if t.kind == "activation"}
    assert ranges["pair/same"] == ranges["pair/same#2"] == 7.0


def test_one_of_two_layers_of_one_name_is_pruned(k):
    model = twins(k)
    pruned = prune_model(model, 0.5, only=model.get_layer("pair").b)
    zeros = {row["weight"]: row["sparsity"] for row in sparsity_report(pruned).rows}
    assert zeros == {"pair/same.kernel": 0.0, "pair/same#2.kernel": 0.5, "head.kernel": 0.0}


@pytest.mark.parametrize("change", [fuse_model, lambda model: prune_model(model, 0.25, pattern="channel")])
def test_flags_and_weights_of_layers_of_one_name_stay_apart_in_copies(k, change):
    model = twins(k)
    x = k.Input((8,))
    hidden = k.layers.Dense(8, name="hidden")(k.layers.Dense(8, name="first")(x))
    model = k.Model(x, model(hidden))
    pair = next(layer for _, layer in flavor_of(model).walk(model) if layer.name == "pair")
    pair.a.trainable = False
    copied = change(model)
    copy = next(layer for _, layer in flavor_of(copied).walk(copied) if layer.name == "pair")
    assert (copy.a.trainable, copy.b.trainable) == (False, True)
    for old, new in ((pair.a, copy.a), (pair.b, copy.b)):
        np.testing.assert_array_equal(np.asarray(new.kernel), np.asarray(old.kernel))


def test_masks_of_layers_of_one_name_stay_apart_when_a_model_is_fused(k):
    model = twins(k)
    pruned = prune_model(model, 0.5, only=model.get_layer("pair").a)
    rows = {row["weight"]: row["target"] for row in sparsity_report(fuse_model(pruned)).rows}
    assert rows == {"pair/same.kernel": 0.5, "pair/same#2.kernel": None, "head.kernel": None}


def test_a_product_with_the_kernel_of_a_layer_inside_is_int8_too(k, tmp_path):
    import tensorflow as tf

    @k.saving.register_keras_serializable(f"tests_names_{k.__name__}")
    class Reads(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = k.layers.Dense(8, name="inner")

        def build(self, input_shape):
            self.inner.build(input_shape)
            self.built = True

        def call(self, x):
            return tf.matmul(self.inner(x), self.inner.kernel)

    x = k.Input((8,))
    quantized = quantize_model(k.Model(x, Reads(name="r")(x)), calibration_data=X, verbose=0)
    assert exported(quantized, X, tmp_path / "b") == {"r/inner/MatMul": True, "r/inner/MatMul_1": True}
