"""Loops get the trip limit that TensorRT asks for, where their condition says what it is."""

from __future__ import annotations

import pytest

from keras_trt.exporting.export import export
from tests.onnx_tools import build


@pytest.mark.parametrize("length", [6, None])
def test_recurrent_layers_build_with_a_fixed_and_an_open_length(k, length, tmp_path):
    x = k.Input((length, 4), name="x")
    layers = [kind(3, activation="elu", return_sequences=True) for kind in (k.layers.GRU, k.layers.SimpleRNN)]
    model = k.Model(x, [layer(x) for layer in layers])  # with tanh they would be no loops
    shape = (None, length or (2, 6, 12), 4)
    report = export(model, tmp_path / "net", engine=None, input_shapes=shape, verbose=0)
    assert report.operators["Loop"] == 2
    assert [difference["relative"] < 1e-5 for difference in report.differences] == [True, True]
    build(tmp_path / "net" / "model.onnx", input_shapes={} if length else {"x_axis_1": (2, 6, 12)})
