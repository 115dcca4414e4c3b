"""What `quantize_model` expects of its result, and the layers that it leaves in float."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tensorflow as tf

from keras_trt.errors import InputError
from keras_trt.exporting.export import export
from keras_trt.models.load_model import load_model
from keras_trt.models.report import report
from keras_trt.models.save_model import save_model
from keras_trt.quantize import quantize_model, sensitivity
from keras_trt.quantize.costs.expectation import Expectation
from keras_trt.quantize.inventory import inventory
from tests.quantize.costs.test_noise import decibels

X = np.random.default_rng(0).normal(size=(64, 12, 12, 3)).astype(np.float32)


def net(k, loud=300.0):
    """A head that reads two branches of one concatenation, one of them `loud` times the other's size.

    The head's weights make up for it, so that one grid for both loses the quiet one.
    """
    k.utils.set_random_seed(0)
    inputs = k.Input((12, 12, 3))
    x = k.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(inputs)
    quiet = k.layers.Conv2D(8, 1, name="quiet")(x)
    big = k.layers.Conv2D(8, 1, name="big")(x)
    both = k.layers.Concatenate(name="both")([quiet, big])
    pooled = k.layers.AveragePooling2D(2, name="pooled")(both)
    y = k.layers.Conv2D(4, 3, name="head")(pooled)
    model = k.Model(inputs, k.layers.GlobalMaxPooling2D(name="top")(y))
    model.get_layer("big").set_weights([w * loud for w in model.get_layer("big").get_weights()])
    kernel, bias = model.get_layer("head").get_weights()
    kernel[:, :, 8:] /= loud
    model.get_layer("head").set_weights([kernel, bias])
    return model


def quantised(model):
    return {t.layer for t in inventory(model)}


def test_layers_that_int8_costs_too_much_stay_float_and_say_why(k):
    model = net(k)
    exact = model.predict(X, verbose=0).astype(np.float64)
    all_of_it = quantize_model(model, calibration_data=X, min_sqnr=None, verbose=0)
    spared = quantize_model(model, calibration_data=X, verbose=0)
    assert decibels(all_of_it.predict(X, verbose=0), exact) < 15
    assert decibels(spared.predict(X, verbose=0), exact) > 25
    assert "head" in quantised(all_of_it) - quantised(spared)
    assert {"stem", "quiet", "big"} <= quantised(spared)
    reasons = {row["layer"]: row["reason"] for row in report(spared).rows}
    assert reasons["head"].startswith("left in float: with it rounded the outputs keep ")
    assert "dB; `min_sqnr=30`; the grid of its input, which reaches " in reasons["head"]
    assert reasons["head"].endswith(" of 16 channels (0 to 7)")  # those of the quiet branch


def test_what_served_a_layer_that_stays_float_stays_float_too(k):
    spared = quantize_model(net(k), calibration_data=X, verbose=0)
    assert "pooled" not in quantised(spared)


def test_a_model_that_keeps_enough_is_quantised_as_a_whole(k):
    spared = quantize_model(net(k, loud=1.0), calibration_data=X, verbose=0)
    assert {"stem", "quiet", "big", "pooled", "head"} <= quantised(spared)


@pytest.mark.parametrize(
    "arguments",
    [{"min_sqnr": None}, {"min_sqnr": 0}, {"only": ["stem", "head", "quiet", "big"]}, {"scheme": "fp8"}],
)
def test_who_asks_for_all_layers_gets_them(k, arguments):
    model = quantize_model(net(k), calibration_data=X, verbose=0, **arguments)
    assert {"stem", "quiet", "big", "head"} <= quantised(model)


def test_one_line_says_what_is_expected(k, capsys):
    quantize_model(net(k), calibration_data=X)
    printed = capsys.readouterr().out.splitlines()[-1]
    assert printed.startswith("Expected: the outputs keep ")
    assert "(32 rows of the calibration data); the costliest layers alone, in dB: " in printed
    assert "; left in float: " in printed and "head" in printed
    quantize_model(net(k), calibration_data=X, verbose=0)
    assert not capsys.readouterr().out


def test_who_falls_short_of_the_floor_is_told_what_to_do(k, rng, capsys):
    """Of many layers that cost the same none is worth leaving in float."""
    inputs = x = k.Input((16,))
    for _ in range(12):
        x = k.layers.Dense(16, kernel_initializer="orthogonal")(x)
    model, data = k.Model(inputs, x), rng.normal(size=(64, 16)).astype("float32")
    said = "That is below `min_sqnr=60`: train it quantised with `fit`"
    quantize_model(model, calibration_data=data, min_sqnr=60)
    assert said in capsys.readouterr().out
    quantize_model(model, calibration_data=data, min_sqnr=10)
    assert "That is below" not in capsys.readouterr().out


def test_sensitivity_measures_every_layer(k):
    assert {"head", "pooled"} <= set(sensitivity(net(k), X, verbose=0).losses)


def test_why_a_layer_stays_float_is_kept_in_the_file_and_does_not_hinder(k, tmp_path):
    spared = quantize_model(net(k), calibration_data=X, verbose=0)
    save_model(spared, tmp_path / "net.keras")
    loaded = load_model(tmp_path / "net.keras")
    assert np.array_equal(loaded.predict(X, verbose=0), spared.predict(X, verbose=0))
    assert report(loaded).rows == report(spared).rows
    found = export(loaded, tmp_path / "net", calibration_data=X, engine=None, verbose=0)
    assert found.float_layers == ("head",)
    loaded.compile("sgd", "mse")
    loaded.fit(X, np.zeros((64, 4)), verbose=0)
    again = quantize_model(loaded, only=["head"], calibration_data=X, verbose=0)
    assert "head" in quantised(again)


def test_inside_a_layer_of_the_users_it_works_as_well(k, tmp_path):
    @k.saving.register_keras_serializable(package="test_expectation")
    class Block(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = net(k)

        def call(self, x):
            return self.inner(x)

    inputs = k.Input((12, 12, 3))
    model = k.Model(inputs, Block(name="block")(inputs))
    spared = quantize_model(model, calibration_data=X, verbose=0)
    (head,) = (row for row in report(spared).rows if row["layer"].endswith("/head"))
    assert head["reason"].startswith("left in float: ")
    assert np.isfinite(spared.predict(X, verbose=0)).all()


@pytest.mark.parametrize("given", ["25", True, [25], float("nan")])
def test_a_floor_is_a_number_of_decibels(k, given):
    with pytest.raises(InputError, match=r"`min_sqnr` must be a number of decibels, or None\. Received: "):
        quantize_model(net(k), min_sqnr=given)


@pytest.mark.parametrize("once", [False, True])
def test_ranges_behind_a_layer_that_stays_float_are_those_of_the_float_layer(k, once):
    one, two = k.Input((4,), name="one"), k.Input((4,), name="two")
    lossy = k.layers.Dense(8, name="lossy")
    y = k.layers.Dense(4, name="last")(lossy(k.layers.Concatenate(name="both")([one, two])))
    model = k.Model({"one": one, "two": two}, y)
    kernel = np.ones((8, 8), np.float32)
    kernel[4:] = 1e-3  # its grid of int8 loses these rows, and the inputs that are large
    lossy.set_weights([kernel, np.zeros(8)])
    x = {"one": np.abs(X[:, 0, :4, 0]), "two": 1e3 + np.abs(X[:, 1, :4, 0])}
    quantized = quantize_model(model, calibration_data=iter([x]) if once else x, verbose=0)
    assert quantised(quantized) == {"last"}
    amax = np.max(np.abs(x["one"].sum(axis=1) + x["two"].sum(axis=1) * 1e-3))
    found = {row["layer"]: row["amax"] for row in report(quantized).rows}
    assert float(found["last"]) == pytest.approx(amax, rel=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_where_each_layer_costs_too_much_all_are_left_in_float_with_a_warning(
    k, count, tmp_path, rng, capsys
):
    """One layer rounded for its own sake would cost decisions, and save nothing worth them."""
    inputs = x = k.Input((2,))
    for i in range(count):
        x = k.layers.Dense(2, use_bias=False, name=f"d{i}", kernel_initializer="identity")(x)
    model = k.Model(inputs, k.layers.Lambda(lambda y: y[:, 1:])(x))
    data = np.stack([rng.uniform(500, 1000, 64), rng.uniform(-1, 1, 64)], axis=1).astype("float32")
    with pytest.warns(UserWarning, match=r"No layer of .* computes in int8: each costs .*`min_sqnr=30`"):
        quantized = quantize_model(model, calibration_data=data)
    assert not quantised(quantized)
    names = [f"d{i}" for i in range(count)]
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.startswith("Expected: what float gives; int8 costs too much in each layer: ")
    reasons = {row["layer"]: row["reason"] for row in report(quantized).rows}
    for name in names:
        assert name in told
        assert reasons[name].startswith("left in float: ")
        assert reasons[name].endswith("leaves less than 10 dB of 1 of 2 channels (1)")
    exact = model.predict(data, verbose=0)
    np.testing.assert_allclose(quantized.predict(data, verbose=0), exact, rtol=1e-6)
    found = export(quantized, tmp_path / "net", calibration_data=data, engine=None, verbose=0)
    assert found.float_layers == tuple(names)
    assert not found.int8_layers
    save_model(quantized, tmp_path / "net.keras")
    loaded = load_model(tmp_path / "net.keras", safe_mode=False)
    np.testing.assert_allclose(loaded.predict(data, verbose=0), exact, rtol=1e-6)
    whole = quantize_model(loaded, calibration_data=data, only=names, verbose=0)
    assert quantised(whole) == set(names)


def test_what_recurrent_weights_cost_is_told_where_nothing_else_is_rounded(k, rng, capsys):
    steps, loud = k.Input((4, 2)), k.Input((2,))
    rounded = k.layers.Dense(2, use_bias=False, name="lossy", kernel_initializer="identity")(loud)
    model = k.Model([steps, loud], [k.layers.LSTM(3, name="lstm")(steps), rounded[:, 1:]])
    data = [
        rng.normal(size=(64, 4, 2)).astype("float32"),
        np.stack([rng.uniform(500, 1000, 64), rng.uniform(-1, 1, 64)], axis=1).astype("float32"),
    ]
    with pytest.warns(UserWarning, match=r"No layer of .* computes in int8"):
        quantized = quantize_model(model, calibration_data=data)
    told = capsys.readouterr().out.splitlines()[-1]
    exact, found = (m.predict(data, verbose=0)[0].astype(np.float64) for m in (model, quantized))
    first = decibels(found[:32], exact[:32])
    assert 25 < first < 70
    assert told.startswith(f"Expected: the outputs keep {first:.1f} dB of signal to rounding noise")
    assert told.endswith(f"alone, in dB: lstm/lstm_cell {first:.1f}; left in float: lossy.")


@pytest.mark.parametrize(
    ("activation", "scale", "told"),
    [("softmax", 1e4, True), ("sigmoid", 1e4, True), ("softmax", 1.0, False), ("linear", 1e4, False)],
)
def test_a_ratio_at_saturated_outputs_is_told_as_one(k, rng, capsys, activation, scale, told):
    x = k.Input((8,))
    y = k.layers.Dense(3, name="logits")(k.layers.Dense(8, activation="relu")(x))
    model = k.Model(x, k.layers.Activation(activation)(y * scale))
    quantize_model(model, calibration_data=rng.normal(size=(32, 8)).astype("float32"), min_sqnr=None)
    line = capsys.readouterr().out.split("Expected: ")[1]
    assert ("mostly saturated, at 0 or 1, where rounding hardly shows" in line) == told


def test_one_output_that_is_not_saturated_is_the_one_that_counts(k, rng, capsys):
    x = k.Input((8,))
    y = k.layers.Dense(3, name="logits")(x)
    model = k.Model(x, [y, k.layers.Softmax()(y * 60.0)])
    quantize_model(model, calibration_data=rng.normal(size=(32, 8)).astype("float32"), min_sqnr=None)
    assert "saturated" not in capsys.readouterr().out


@pytest.mark.parametrize("picks", [True, False])
def test_a_model_that_picks_among_its_results_is_told_where_to_put_that(k, rng, picks):
    """Ranks of scores that lie close to each other: rounding anything before moves some."""
    inputs = h = k.Input((16,))
    for _ in range(4):
        h = k.layers.Dense(64, activation="relu")(h)
    if picks:
        h = k.layers.Lambda(lambda x: tf.cast(tf.argsort(x), "float32"))(h)
    data = rng.normal(size=(32, 16)).astype("float32")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        quantize_model(k.Model(inputs, h), calibration_data=data, verbose=0)
    assert any("picks among its results" in str(each.message) for each in told) == picks


def test_where_many_layers_are_left_the_line_says_what_may_be_behind_it():
    spared = {name: "costs too much" for name in ("a", "b", "c")}
    assert "picks among its results" in str(Expectation(32, 31.0, {"d": 40.0}, spared, layers=4))
    assert "picks among its results" not in str(Expectation(32, 31.0, {"d": 40.0}, spared, layers=12))
