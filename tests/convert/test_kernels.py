"""Weights reach the graph without a copy, in the layout that the converter asks for."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.convert.convert import convert
from keras_trt.trace.trace import trace
from tests.onnx_tools import run


def nets(k):
    layers = k.layers
    image, text = k.Input((12, 12, 4), name="x"), k.Input((6,), name="x", dtype="int32")
    clip, signal = k.Input((4, 6, 6, 2), name="x"), k.Input((10, 3), name="x")
    sequence = layers.Embedding(9, 8)(text)
    return {
        "conv": (image, layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(image)),
        "groups": (image, layers.Conv2D(6, 3, groups=2)(image)),
        "dilated": (image, layers.Conv2D(6, 3, dilation_rate=2)(image)),
        "depthwise": (image, layers.DepthwiseConv2D(3, depth_multiplier=2)(image)),
        "separable": (image, layers.SeparableConv2D(5, 3)(image)),
        "transposed": (image, layers.Conv2DTranspose(5, 3, strides=2, padding="same")(image)),
        "3d": (clip, layers.Conv3D(3, 2)(clip)),
        "3d_transposed": (clip, layers.Conv3DTranspose(3, 2)(clip)),
        "1d": (signal, layers.Conv1D(4, 3, padding="causal")(signal)),
        "flat": (image, layers.Dense(7)(layers.Flatten()(layers.Conv2D(3, 3)(image)))),
        "normalized": (image, layers.BatchNormalization()(layers.Conv2DTranspose(4, 2)(image))),
        "dense": (text, layers.Dense(5)(sequence)),
        "attention": (text, layers.MultiHeadAttention(2, 4)(sequence, sequence)),
        "recurrent": (text, layers.GRU(4)(sequence)),
        "tied": (text, k.layers.Dense(8, name="tied")(k.layers.Dense(8, name="before")(sequence))),
    }


@pytest.mark.parametrize("name", list(nets(__import__("keras"))))
def test_every_kind_of_kernel_keeps_its_values(k, name):
    x, y = nets(k)[name]
    model = k.Model(x, y)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape, scale=0.3).astype(np.float32) ** 2 for w in model.weights])
    data = rng.integers(0, 9, (2, 6)) if name in TEXT else rng.normal(size=(2, *x.shape[1:]))
    data = data.astype(str(getattr(x.dtype, "name", x.dtype)))
    converted = convert(trace(model))
    assert [value.name for value in converted.graph.inputs] == ["x"]
    (found,) = run(converted, x=data).values()
    np.testing.assert_allclose(found, model(data), rtol=1e-4, atol=1e-4)


TEXT = ("dense", "attention", "recurrent", "tied")


def test_no_kernel_is_copied(k):
    """ResNet-50 took ten times the memory of its weights to export."""
    x = k.Input((16, 16, 4))
    y = k.layers.DepthwiseConv2D(3)(k.layers.Conv2D(8, 3)(x))
    model = k.Model(x, k.layers.Dense(5)(k.layers.Flatten()(y)))
    traced = trace(model)
    converted = convert(traced)
    kernels = [v.const_value.numpy() for v in converted.graph.initializers.values() if len(v.shape) > 1]
    assert len(kernels) == len(traced.weights) == 3
    for kernel in kernels:
        assert any(np.shares_memory(kernel, weight) for weight in traced.weights.values())
