"""Transposed convolutions have the padding of TensorFlow, in a form that every runner reads alike."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from keras_trt import load
from keras_trt.exporting.export import export
from tests.onnx_tools import build, floats


@pytest.mark.parametrize("before", ["input", "dense"])
@pytest.mark.parametrize(("kernel", "strides", "padding"), [(3, 1, "same"), (3, 2, "same"), (4, 3, "valid")])
def test_both_cpu_runners_agree_with_keras(k, before, kernel, strides, padding, tmp_path):
    x = k.Input((7, 7, 3))
    y = x if before == "input" else k.layers.Dense(3)(x)  # behind it tf2onnx knows no sizes
    model = k.Model(x, k.layers.Conv2DTranspose(4, kernel, strides=strides, padding=padding)(y))
    export(model, tmp_path / "net", engine=None, verify=False, verbose=0)
    images = floats(2, 7, 7, 3)
    expected = model.predict(images, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(images, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=runner)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_kernels_smaller_than_their_strides_leave_zeros_at_the_end(k, axes, tmp_path):
    x = k.Input((*[4] * axes, 2))
    layer = getattr(k.layers, f"Conv{axes}DTranspose")(3, 2, strides=3, padding="same")
    model = k.Model(x, layer(x))
    export(model, tmp_path / "net", engine=None, verify=False, verbose=0)
    file = tmp_path / "net" / "model.onnx"
    (node,) = [n for n in onnx.load(file).graph.node if n.op_type == "ConvTranspose"]
    assert all(n >= 0 for a in node.attribute if a.name == "pads" for n in a.ints)
    values = floats(2, *[4] * axes, 2)
    for runner in ("openvino", "onnxruntime"):
        found = load(tmp_path / "net", runner=runner, verbose=0).predict(values, verbose=0)
        np.testing.assert_allclose(found, model.predict(values, verbose=0), atol=1e-5, err_msg=runner)
    if axes == 2:
        build(file)
