"""Loops get the trip limit that TensorRT asks for, where their condition says what it is."""

from __future__ import annotations

import pytest

from keras_trt.exporting import export
from tests.onnx_tools import build


@pytest.mark.parametrize("name", ["GRU", "SimpleRNN"])
@pytest.mark.parametrize("length", [6, None])
def test_recurrent_layers_build_with_a_fixed_and_an_open_length(k, name, length, tmp_path):
    x = k.Input((length, 4), name="x")
    layer = getattr(k.layers, name)(3, activation="elu", return_sequences=True)  # tanh is no loop
    model = k.Model(x, layer(x))
    shape = (None, length or (2, 6, 12), 4)
    report = export(model, tmp_path / "net", engine=None, input_shapes=shape, verbose=0)
    assert "Loop" in report.operators
    assert report.differences[0]["relative"] < 1e-5
    build(tmp_path / "net" / "model.onnx", input_shapes={} if length else {"x_axis_1": (2, 6, 12)})
