"""Recurrent layers leave as the operators that ONNX has, right in both CPU runners and TensorRT-RTX."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import load, quantize_model
from keras_trt.exporting.export import export
from tests.onnx_tools import build, floats

OPERATORS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}


def biased(model):
    """Biases that are not zeros, as a trained model has them."""
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.3 * rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


def listed(outputs):
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def check(model, values, folder, operators):
    report = export(model, folder, engine=None, verify=False, verbose=0)
    found = {name: n for name, n in report.operators.items() if name in (*OPERATORS.values(), "Loop")}
    assert found == operators
    expected = model.predict(values, verbose=0)
    for runner in ("openvino", "onnxruntime"):
        outputs = load(folder, runner=runner, verbose=0).predict(values, verbose=0)
        for y, wanted in zip(listed(outputs), listed(expected), strict=True):
            np.testing.assert_allclose(y, wanted, atol=1e-5, err_msg=runner)
    return report


@pytest.mark.parametrize("cell", OPERATORS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True, "go_backwards": True},
        {"return_sequences": True, "return_state": True},
        {"use_bias": False},
    ],
    ids=str,
)
def test_layers_are_one_operator(k, cell, options, tmp_path):
    x = k.Input((7, 4))
    model = biased(k.Model(x, getattr(k.layers, cell)(5, **options)(x)))
    check(model, floats(3, 7, 4), tmp_path / "net", {OPERATORS[cell]: 1})


@pytest.mark.parametrize("cell", ["GRU", "SimpleRNN"])
def test_bidirectional_layers_turn_nothing_around_and_build(k, cell, tmp_path):
    x = k.Input((7, 4))
    y = k.layers.Bidirectional(getattr(k.layers, cell)(5, return_sequences=True))(x)
    report = check(biased(k.Model(x, y)), floats(3, 7, 4), tmp_path / "net", {OPERATORS[cell]: 2})
    assert "ReverseSequence" not in report.operators
    build(tmp_path / "net" / "model.onnx")


def test_a_gru_may_reset_before_the_product(k, tmp_path):
    x = k.Input((7, 4))
    model = biased(k.Model(x, k.layers.GRU(5, reset_after=False)(x)))
    check(model, floats(3, 7, 4), tmp_path / "net", {"GRU": 1})


def test_an_open_length_and_a_first_state_from_another_layer(k, tmp_path):
    x = k.Input((None, 4))
    _, state = k.layers.GRU(5, return_state=True)(x)
    model = biased(k.Model(x, k.layers.GRU(5, return_sequences=True)(x, initial_state=state)))
    check(model, floats(3, 7, 4), tmp_path / "net", {"GRU": 2})


def test_a_sequence_read_by_two_layers_is_right_everywhere(k, tmp_path):
    x = k.Input((7, 4))
    first = k.layers.LSTM(5, return_sequences=True)(x)
    second = k.layers.LSTM(5, return_sequences=True)(first)
    model = biased(k.Model(x, k.layers.Concatenate()([first, second])))
    check(model, floats(3, 7, 4), tmp_path / "net", {"LSTM": 2})


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_quantised_weights_stay_on_their_grid_and_count_as_float(k, cell, tmp_path):
    x = k.Input((7, 4))
    model = k.Model(x, k.layers.Dense(2)(getattr(k.layers, cell)(5)(x)))
    values = floats(3, 7, 4)
    quantized = quantize_model(model, calibration_data=values, verbose=0)
    report = check(quantized, values, tmp_path / "net", {cell: 1})
    gates = {"LSTM": 4, "GRU": 3}[cell]
    assert report.int8_mac_share == pytest.approx(10 / (10 + 7 * gates * 5 * 9))


def test_layers_with_other_activations_or_a_step_of_their_own_stay_loops(k, tmp_path):
    class Doubled(k.layers.SimpleRNNCell):
        def call(self, inputs, states, training=None):
            return super().call(2 * inputs, states)

    x = k.Input((7, 4))
    y = k.layers.RNN(Doubled(3), return_sequences=True)(x)
    model = k.Model(x, k.layers.GRU(3, recurrent_activation="hard_sigmoid")(y))
    check(model, floats(3, 7, 4), tmp_path / "net", {"Loop": 2})


def test_tracing_leaves_the_layers_as_they_were(k, tmp_path):
    x = k.Input((7, 4))
    model = k.Model(x, k.layers.GRU(5)(x))
    before = dict(vars(model.layers[-1]))
    export(model, tmp_path / "net", engine=None, verify=False, verbose=0)
    assert set(vars(model.layers[-1])) == set(before)
