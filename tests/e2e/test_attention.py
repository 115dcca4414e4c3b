"""Quantised attention down the whole road."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load


def attention_net(k):
    """Self-attention with a residual, its biases not zero, as after training."""
    k.utils.set_random_seed(0)
    biased = {"bias_initializer": k.initializers.RandomNormal(stddev=0.1, seed=1)}
    inputs = k.Input((6, 8), name="x")
    x = k.layers.MultiHeadAttention(2, 4, name="attention", **biased)(inputs, inputs)
    x = k.layers.LayerNormalization(name="norm")(k.layers.Add(name="add")([inputs, x]))
    x = k.layers.EinsumDense("abc,cde->abde", (6, 2, 4), bias_axes="de", name="split", **biased)(x)
    x = k.layers.EinsumDense("abcd,cde->abe", (6, 8), bias_axes="e", name="join", **biased)(x)
    return k.Model(inputs, k.layers.Dense(4, name="head", **biased)(x))


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
def test_projections_and_products_run_in_int8(k, runner, tmp_path):
    x = np.random.default_rng(0).normal(size=(32, 6, 8)).astype("float32")
    model = quantize_model(attention_net(k), calibration_data=x, verbose=0)
    report = export(model, tmp_path / "b", compute_capabilities=["SM89"], verbose=0)
    assert report.int8_mac_share == 1.0
    assert report.float_layers == ()
    assert report.weights == {"int8": 7}
    assert report.operators.get("Einsum", 0) == 0
    ours = load(report.path, runner=runner, verbose=0).predict(x, verbose=0)
    keras = model.predict(x, verbose=0)
    assert np.abs(ours - keras).max() < 0.05 * np.abs(keras).max()
