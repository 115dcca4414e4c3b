"""An export says how much of a quantised model TensorRT computes in float, being recurrent."""

from __future__ import annotations

from dataclasses import replace

import keras_trt
from keras_trt.exporting.export import export
from keras_trt.tensorrt_rules.recurrences import recurrent_work
from keras_trt.tensorrt_rules.stats import Product
from tests.onnx_tools import floats

STEP = Product("node", "cell", "MatMul", "float", 1, None, False, recurrent=True)


def test_the_layers_are_named_with_their_shares(k, tmp_path):
    x = k.Input((10, 8))
    y = k.layers.LSTM(16, return_sequences=True, name="first")(x)
    y = k.layers.Conv1D(16, 3, name="between")(y)
    y = k.layers.RNN([k.layers.GRUCell(8), k.layers.GRUCell(8)], name="stack")(y)
    model = k.Model(x, k.layers.Dense(4, name="head")(y))
    quantized = keras_trt.quantize_model(model, calibration_data=floats(8, 10, 8), verbose=0)
    found = export(quantized, tmp_path / "b", engine=None, verify=False, verbose=0)
    (note,) = (note for note in found.notes if "ecurren" in note)
    first, stack, between, head = 10 * 64 * 24, 8 * 24 * (24 + 16), 8 * 16 * 16 * 3, 8 * 4
    total = first + stack + between + head
    assert note.startswith(
        f"Recurrent layers compute {(first + stack) / total:.1%} of the multiply-accumulates in float: "
        f"'first' ({first / total:.1%}), 'stack"
    )
    assert note.endswith(
        "TensorRT computes recurrences in float, also where their weights lie on a grid: quantisation does "
        "not make them faster. `precision='fp16'` computes all that is float in float16."
    )
    cells = [row for row in keras_trt.report(quantized).rows if row["kind"] in ("LSTMCell", "GRUCell")]
    assert all("TensorRT's recurrent layers compute in float" in row["reason"] for row in cells)
    plain = export(model, tmp_path / "float", engine=None, verify=False, verbose=0)
    assert not any("ecurren" in note for note in plain.notes)


def test_the_largest_are_named_first_and_few_of_them():
    work = [replace(STEP, layer=f"cell_{i}", macs=i + 1) for i in range(7)]
    (note,) = recurrent_work(work, "int8+fp16")
    assert "in float: 'cell_6' (25.0%), 'cell_5' (21.4%)," in note
    assert "'cell_2' (10.7%) and 2 more. TensorRT" in note
    assert note.endswith("make them faster.")


def test_hardly_any_are_no_sentence():
    assert recurrent_work([], "int8") == []
    assert recurrent_work([STEP, replace(STEP, recurrent=False, computes="int8", macs=200)], "int8") == []
    assert recurrent_work([replace(STEP, recurrent=False)], "int8") == []
