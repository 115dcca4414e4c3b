"""Equal constants become one, the kernels of layers that are initialised alike do not."""

from __future__ import annotations

import numpy as np

from keras_trt.exporting.export import export
from keras_trt.onnx_passes.share_constants import ShareConstantsPass
from keras_trt.quantize import quantize_model
from tests.onnx_tools import GraphBuilder, floats


def test_equal_constants_become_one_and_kernels_stay_apart():
    b = GraphBuilder(x=("batch", 4))
    kernel = floats(4, 4)
    a = b("MatMul", b("Add", "x", np.float32([1.0])), kernel)
    c = b("MatMul", b("Add", "x", np.float32([1.0])), kernel.copy())
    model = b.finish(b("Mul", a, c))
    assert ShareConstantsPass()(model).modified
    shapes = sorted(tuple(v.const_value.shape) for v in model.graph.initializers.values())
    assert shapes == [(1,), (4, 4), (4, 4)]
    assert not ShareConstantsPass()(model).modified


def test_layers_that_are_initialised_alike_are_both_found(k, tmp_path):
    i = k.Input((4,), name="x")
    alike = [
        k.layers.Dense(4, kernel_initializer=k.initializers.GlorotUniform(seed=3), name=name)
        for name in ("keys", "values")
    ]
    model = k.Model(i, k.layers.Multiply()([layer(i) for layer in alike]))
    x = np.random.default_rng(0).random((8, 4), dtype=np.float32)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    report = export(quantized, tmp_path / "net", engine=None, verbose=0)
    assert report.int8_mac_share == 1
