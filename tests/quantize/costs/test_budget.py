"""A metric keeps within a budget, and no more layers are left in float than that takes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt import quantize_model, report
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.errors import InputError
from keras_trt.quantize.costs.budget import Budget, multiply_accumulates


def skewed(k):
    """A classifier with an activation whose channels differ much in size, read with weights that undo it."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 16)).astype("float32")
    i = k.Input((16,))
    h = k.layers.Dense(16, activation="tanh", name="small")(i)
    h = k.layers.Rescaling([10.0**-e for e in np.linspace(0, 4, 16)], name="skew")(h)
    h = k.layers.Dense(32, activation="tanh", name="hard")(h)
    h = k.layers.Dense(32, activation="relu", name="easy")(h)
    model = k.Model(i, k.layers.Dense(5, name="head")(h))
    kernel, bias = model.get_layer("hard").get_weights()
    kernel *= 10.0 ** np.linspace(0, 4, 16)[:, None]
    model.get_layer("hard").set_weights([kernel, bias])
    return model, x, model.predict(x, verbose=0).argmax(-1)


def in_float(model):
    return {r["layer"] for r in report(model).rows if "max_drop" in (r["reason"] or "")}


def accuracy(model, x, y):
    return float((model.predict(x, verbose=0).argmax(-1) == y).mean())


def test_the_layer_that_costs_most_is_left_and_no_other(k):
    model, x, y = skewed(k)
    everything = quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    assert accuracy(everything, x, y) < 0.9
    kept = quantize_model(model, data=(x, y), max_drop=0.04, metric="accuracy", verbose=0)
    assert in_float(kept) == {"hard"}
    assert accuracy(kept, x, y) >= 0.96


def test_within_the_budget_all_is_rounded(k):
    model, x, y = skewed(k)
    assert in_float(quantize_model(model, data=(x, y), max_drop=1.0, verbose=0)) == set()


@pytest.mark.parametrize("metric", [None, "kl"])
def test_without_labels_the_outputs_are_compared_with_float(k, metric):
    model, x, _ = skewed(k)
    assert in_float(quantize_model(model, data=x, max_drop=0.02, metric=metric, verbose=0)) == {"hard"}


def test_metrics_of_keras_and_functions_and_data_sets_count(k):
    model, x, y = skewed(k)
    batches = [(x[i : i + 100], y[i : i + 100]) for i in range(0, 400, 100)]
    own = k.metrics.SparseCategoricalAccuracy()

    def agreement(targets, predictions):
        return (predictions.argmax(-1) == targets).mean()

    named = "sparse_categorical_accuracy"
    for metric, data in ((own, (x, y)), (agreement, iter(batches)), (named, iter(batches))):
        assert in_float(quantize_model(model, data=data, max_drop=0.04, metric=metric, verbose=0)) == {"hard"}


def test_labels_may_be_a_list_of_numbers(k):
    model, x, y = skewed(k)
    assert in_float(quantize_model(model, data=(x, y.tolist()), max_drop=0.04, verbose=0)) == {"hard"}


def test_an_error_is_better_where_it_is_smaller(k):
    model, x, _ = skewed(k)
    targets = model.predict(x, verbose=0) + 0.01
    kept = quantize_model(model, data=(x, targets), max_drop=0.001, metric="mean_squared_error", verbose=0)
    assert "hard" in in_float(kept)
    assert np.square(kept.predict(x, verbose=0) - targets).mean() <= 0.0001 + 0.001 + 1e-6


def test_a_line_says_what_the_budget_made_of_it(k, capsys):
    model, x, y = skewed(k)
    quantize_model(model, data=(x, y), max_drop=0.04, verbose=1)
    said = capsys.readouterr().out
    assert "Budget: accuracy is" in said and "1 in float" in said and "left in float: hard" in said


def test_no_budget_that_cannot_be_kept_passes_in_silence(k):
    model, x, _ = skewed(k)
    with pytest.warns(UserWarning, match="none is within `max_drop=0`"):
        kept = quantize_model(model, data=x, max_drop=0.0, verbose=0)
    np.testing.assert_allclose(kept.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert not [r for r in report(kept).rows if r["quantised"]]


def test_work_is_counted_in_multiply_accumulates(k):
    i = k.Input((8, 8, 3))
    x = k.layers.Conv2D(4, 3, name="conv")(i)
    model = k.Model(i, k.layers.Dense(2, name="head")(k.layers.Flatten()(x)))
    rows = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    quantized = quantize_model(model, calibration_data=rows, min_sqnr=None, verbose=0)
    work = multiply_accumulates(flavor_of(quantized), quantized, rows)
    assert work == {"conv": 2 * 6 * 6 * 4 * 27, "head": 2 * 2 * 144}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_drop": 0.1}, r"give `data=\(inputs, targets\)`"),
        ({"max_drop": -1, "data": np.zeros((4, 16))}, "a number of at least 0"),
        ({"max_drop": True, "data": np.zeros((4, 16))}, "a number of at least 0"),
        ({"max_drop": 0.1, "data": np.zeros((4, 16)), "metric": "accuracy"}, "no targets"),
        (
            {"max_drop": 0.1, "data": (np.zeros((4, 16)), np.zeros(4)), "metric": "acuracy"},
            "There is no such metric",
        ),
        ({"max_drop": 0.1, "data": (np.zeros((4, 16)), np.zeros(4)), "metric": 3}, "a metric of Keras"),
        ({"metric": "accuracy"}, "no `max_drop`"),
    ],
)
def test_bad_budgets_are_refused(k, options, words):
    model, *_ = skewed(k)
    with pytest.raises(InputError, match=words):
        quantize_model(model, verbose=0, **options)


def test_layers_left_by_data_that_is_read_once_are_measured_on_all_of_it(k):
    """A list of batches would have been read as arrays for so many inputs."""
    model, x, _ = skewed(k)
    from_arrays = quantize_model(model, calibration_data=x[:160], recover=None, verbose=0)
    assert [r for r in report(from_arrays).rows if "min_sqnr" in (r["reason"] or "")]
    rows = (x[i : i + 32] for i in range(0, 160, 32))
    from_iterator = quantize_model(model, calibration_data=rows, recover=None, verbose=0)
    np.testing.assert_array_equal(from_iterator.predict(x, verbose=0), from_arrays.predict(x, verbose=0))


def test_a_budget_is_kept_when_it_is_met_exactly(k):
    model, x, y = skewed(k)
    everything = quantize_model(model, data=(x, y), max_drop=1.0, verbose=0)
    fallen = round(400 * (1 - accuracy(everything, x, y)))
    assert fallen > 0
    assert in_float(quantize_model(model, data=(x, y), max_drop=fallen / 400, verbose=0)) == set()


def test_errors_are_errors_whatever_they_are_called(k):
    model, x, _ = skewed(k)
    y = model.predict(x, verbose=0)
    m = k.metrics.MeanSquaredError(name="quality"), k.losses.MeanSquaredError(), k.losses.mean_squared_error
    for metric in m:
        assert "hard" in in_float(quantize_model(model, data=(x, y), max_drop=1e-3, metric=metric, verbose=0))


def test_the_divergence_of_one_probability_is_that_of_two_classes(k):
    model, x, _ = skewed(k)
    for activation in ("sigmoid", None):
        out = k.layers.Dense(1, activation=activation, kernel_initializer=k.initializers.Constant(0.3))
        binary = k.Model(model.input, out(model.get_layer("easy").output))
        whole = quantize_model(binary, data=x, max_drop=1.0, metric="kl", verbose=0)
        p, q = (each.predict(x, verbose=0).astype("float64") for each in (binary, whole))
        p, q = (each if activation else 1 / (1 + np.exp(-each)) for each in (p, q))
        lost = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
        assert in_float(quantize_model(binary, data=x, max_drop=1.01 * lost, metric="kl", verbose=0)) == set()
        assert in_float(quantize_model(binary, data=x, max_drop=0.5 * lost, metric="kl", verbose=0)) != set()


def test_targets_by_name_are_those_of_the_first_output(k):
    model, x, y = skewed(k)
    other = k.layers.Dense(3, name="a_last")(model.get_layer("easy").output)
    outputs = [model.output, other]
    names = {"a_last": np.zeros((400, 3)), "head": y}
    listed, by_name = k.Model(model.input, outputs), k.Model(model.input, {"z": outputs[0], "a": outputs[1]})
    assert in_float(quantize_model(listed, data=(x, names), max_drop=0.04, verbose=0)) == {"hard"}
    for targets in ({"z": y, "a": np.ones((400, 3))}, {"a": np.ones((400, 3)), "z": y}):
        quantize_model(by_name, data=(x, targets), max_drop=1.0, metric="mse", verbose=0)
    with pytest.raises(
        InputError, match=r"none for the output .* Received: \['head'\]; outputs: \['a', 'z'\]"
    ):
        quantize_model(by_name, data=(x, {"head": y}), max_drop=0.1, verbose=0)


@pytest.mark.parametrize(
    ("targets", "metric", "message"),
    [
        (lambda y: y[:100], None, "100 targets for 400 rows"),
        (
            lambda y: np.zeros((400, 3, 3), int),
            None,
            r"targets of shape \(400, 3, 3\), outputs of .*400, 5\)",
        ),
        (lambda y: y.astype(str), None, "compares numbers of classes. Received: targets of type"),
        (lambda y: y, lambda t, p: np.ones(3), r"returns one number. Received: .* float64 of shape \(3,\)"),
        (lambda y: y, lambda t, p: None, "returns one number. Received: .* object"),
    ],
)
def test_targets_and_functions_that_do_not_fit_are_refused(k, targets, metric, message):
    model, x, y = skewed(k)
    with pytest.raises(InputError, match=message):
        quantize_model(model, data=(x, targets(y)), max_drop=0.1, metric=metric, verbose=0)


def test_metrics_that_take_float32_only_are_given_it(k):
    model, x, y = skewed(k)
    top = k.metrics.SparseTopKCategoricalAccuracy(1)
    assert in_float(quantize_model(model, data=(x, y), max_drop=0.04, metric=top, verbose=0)) == {"hard"}


def measured_in(monkeypatch, call):
    """What a call returns, and how often it scored the data."""
    scored = []
    original = Budget.drop
    monkeypatch.setattr(Budget, "drop", lambda self, outputs: (scored.append(1), original(self, outputs))[1])
    try:
        return call(), len(scored)
    finally:
        monkeypatch.undo()


def test_what_a_budget_measured_is_not_measured_again(k, tmp_path, monkeypatch):
    model, x, y = skewed(k)
    options = {"data": (x, y), "max_drop": 0.01, "cache": tmp_path / "c.json", "verbose": 0}
    first, measured = measured_in(monkeypatch, lambda: quantize_model(model, **options))
    assert measured > 1
    again, none = measured_in(monkeypatch, lambda: quantize_model(model, **options))
    assert none == 0
    assert in_float(again) == in_float(first) != set()
    for change in ({"method": "max"}, {"skip": ["head"]}, {"recover": None}, {"data": (x[1:], y[1:])}):
        other = options | change
        assert measured_in(monkeypatch, lambda other=other: quantize_model(model, **other))[1]


def test_a_search_that_was_interrupted_goes_on(k, tmp_path, monkeypatch):
    model, x, y = skewed(k)
    options = {"data": (x, y), "max_drop": 0.01, "cache": tmp_path / "c.json", "verbose": 0}
    original, left = Budget.drop, [2]

    def until_ctrl_c(self, outputs):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(self, outputs)

    monkeypatch.setattr(Budget, "drop", until_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        quantize_model(model, **options)
    monkeypatch.undo()
    resumed, rest = measured_in(monkeypatch, lambda: quantize_model(model, **options))
    options["cache"] = tmp_path / "other.json"
    whole, all_of_it = measured_in(monkeypatch, lambda: quantize_model(model, **options))
    assert rest == all_of_it - 2
    assert in_float(resumed) == in_float(whole)


def test_files_and_data_that_are_no_cache_are_refused(k, tmp_path):
    model, x, y = skewed(k)
    wrong = tmp_path / "notes.json"
    wrong.write_text("[1, 2]")
    with pytest.raises(InputError, match=r"notes\.json, which holds something else"):
        quantize_model(model, data=(x, y), max_drop=0.01, cache=wrong, verbose=0)
    assert wrong.read_text() == "[1, 2]"
    with pytest.raises(InputError, match="`cache` tells data apart by its values, so it must be arrays"):
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
        quantize_model(model, data=data, max_drop=0.01, cache=tmp_path / "c.json", verbose=0)
    with pytest.raises(InputError, match="`cache` keeps it. Received: no `max_drop`"):
        quantize_model(model, calibration_data=x, cache=tmp_path / "c.json", verbose=0)
