"""Calibration with data that says nothing of some ranges, or of all."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.quantize import calibrate, quantize_model
from keras_trt.quantize.inventory import inventory

X = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")


def branches(k):
    """Two branches, of which `dead` gives zeros for whatever data."""
    inputs = k.Input((8,))
    alive = k.layers.Dense(8, activation="relu", name="alive")(inputs)
    dead = k.layers.Dense(8, activation="relu", bias_initializer=k.initializers.Constant(-100), name="dead")
    behind = k.layers.Dense(8, name="behind")(dead(inputs))
    outputs = [k.layers.Dense(4, name="head")(alive), behind]
    return k.Model(inputs, k.layers.Concatenate()(outputs))


def ranges(model):
    return {t.layer: t.amax for t in inventory(model) if t.kind == "activation"}


def test_data_of_zeros_is_refused_and_leaves_the_ranges(k):
    model = quantize_model(branches(k), ranges={"head": 3.0})
    before = ranges(model)
    for zeros in (X * 0, iter([X[:8] * 0, X[8:12] * 0])):
        with pytest.raises(InputError, match="quantised tensors zero.*'alive'.*largest magnitude 0"):
            calibrate(model, zeros, verbose=0)
    assert ranges(model) == before


def test_zeros_of_whole_numbers_are_refused_where_they_are_what_is_quantised(k):
    inputs = k.Input((8, 8, 1), dtype="uint8")
    x = k.layers.Rescaling(1 / 255)(inputs)
    model = quantize_model(k.Model(inputs, k.layers.Conv2D(4, 3, name="c")(x)))
    with pytest.raises(InputError, match="'c'"):
        calibrate(model, np.zeros((4, 8, 8, 1), "uint8"), verbose=0)


def test_text_for_numbers_is_refused_by_the_name_of_the_argument(k):
    model = k.Sequential([k.Input((8,), name="x"), k.layers.Dense(4)])
    words = np.full((4, 8), "word")
    for data in (words, words.astype(object), iter([words])):
        with pytest.raises(
            InputError, match="`calibration_data`: input '[^']+' takes float32. Received: text"
        ):
            quantize_model(model, calibration_data=data, verbose=0)
    with pytest.raises(InputError, match="`data`: input"):
        calibrate(quantize_model(model), words, verbose=0)


def test_token_ids_may_all_be_zero(k):
    inputs = k.Input((5,), dtype="int32")
    x = k.layers.Dense(4, name="d")(k.layers.Embedding(3, 8)(inputs))
    model = calibrate(quantize_model(k.Model(inputs, x)), np.zeros((4, 5), "int32"), verbose=0)
    assert ranges(model)["d"] > 0


def test_a_dead_branch_is_named_and_gets_the_middle_of_the_other_ranges(k):
    with pytest.warns(UserWarning, match="Zero in all of the calibration data: the input of 'behind'"):
        model = quantize_model(branches(k), calibration_data=X, verbose=0)
    found = ranges(model)
    assert found["behind"] == pytest.approx(np.median([found["alive"], found["dead"], found["head"]]))
    assert found["alive"] == pytest.approx(np.abs(X).max())


def test_a_dead_branch_keeps_a_range_that_is_known(k):
    with pytest.warns(UserWarning, match="behind"):
        model = quantize_model(branches(k), calibration_data=X, ranges={"behind": 7.0}, verbose=0)
    assert ranges(model)["behind"] == 7.0


def test_a_model_that_is_dead_on_the_data_is_refused(k):
    inputs = k.Input((8,))
    x = k.layers.ReLU()(inputs)
    model = quantize_model(k.Model(inputs, k.layers.Dense(4, name="d")(x)))
    with pytest.raises(InputError, match="1 of 1 quantised tensors zero"):
        calibrate(model, -np.abs(X) - 1, verbose=0)


@pytest.mark.parametrize("magnitude", [1e-9, 1e-20, 1e-29])
def test_small_units_are_rounded_as_finely_as_others(k, magnitude):
    float_model = k.Sequential([k.Input((8,)), k.layers.Dense(8, name="a"), k.layers.Dense(4, name="b")])
    model = quantize_model(float_model, calibration_data=X * magnitude, verbose=0)
    expected = float_model.predict(X * magnitude, verbose=0)
    found = model.predict(X * magnitude, verbose=0)
    assert np.linalg.norm(found - expected, ord=2) < 0.03 * np.linalg.norm(expected, ord=2)


def test_a_calibrator_that_finds_no_range_is_refused():
    import keras

    class Broken:
        def amax(self, seen):
            return float("nan")

    model = quantize_model(keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="d")]))
    with pytest.raises(InputError, match="finite number > 0. Received: nan.*'d'"):
        calibrate(model, X, Broken(), verbose=0)


def test_a_first_batch_of_zeros_does_not_hold_the_range_down(k):
    model = quantize_model(k.Sequential([k.Input((8,)), k.layers.Dense(4, name="d")]))
    model.compile("sgd", "mse")
    model.fit(np.concatenate([X * 0, X]), np.zeros((64, 4)), batch_size=32, shuffle=False, verbose=0)
    assert ranges(model)["d"] == pytest.approx(np.abs(X).max(), rel=0.01)


@pytest.mark.parametrize("steps", [None, 9])
def test_data_whose_length_is_unknown_ends_the_line_of_the_bar(k, capsys, steps):
    model = quantize_model(branches(k))
    with pytest.warns(UserWarning, match="Zero in all"):
        calibrate(model, iter([X[:8], X[8:]]), steps=steps)
    assert capsys.readouterr().out.endswith("\n")


def test_models_calibrated_one_after_the_other_raise_no_warning_of_retracing(k, caplog, rng):
    x = rng.normal(size=(10, 6)).astype("float32")
    inputs = k.Input((6,))
    model = quantize_model(k.Model(inputs, k.layers.Dense(3)(inputs)), verbose=0)
    for _ in range(7):
        calibrate(model, x, batch_size=4, verbose=0)  # the last batch is smaller
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]
