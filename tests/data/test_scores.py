"""What an argument `metric` measures: names, objects and functions of either Keras, and a user's own."""

import keras
import numpy as np
import pytest
import tf_keras

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.data.scores import accuracy, score_of
from keras_trt.errors import InputError

ROWS = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])


def test_accuracy_counts_as_keras_does():
    assert accuracy(np.array([1, 0, 0]), ROWS) == pytest.approx(2 / 3)
    assert accuracy(np.array([[1], [0], [0]]), ROWS) == pytest.approx(2 / 3)
    assert accuracy(np.eye(2)[[1, 0, 0]], ROWS) == pytest.approx(2 / 3)
    assert accuracy(np.array([[0.2, 0.8], [1, 0], [1, 0]]), ROWS) == pytest.approx(2 / 3), "soft labels"
    assert accuracy(np.array([1.0, 0.0, 1.0]), ROWS[:, 1:]) == 1.0
    assert accuracy([1, 0, 1], ROWS[:, 1]) == 1.0


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        (np.zeros(2, int), np.zeros((2, 3, 4)), r"shape \(2,\), outputs of shape \(2, 3, 4\)"),
        (np.array([0, 1, 1]), np.zeros((2, 2)), r"targets of shape \(3,\)"),
        (np.array([0.5, 1.0]), np.zeros((2, 2)), r"no whole numbers, \[0.5, 1.0\] first. Give another"),
        (np.array([[0.5], [1.0]]), np.zeros((2, 1)), "no whole numbers"),
        (np.array(["cat", "dog"]), np.zeros((2, 2)), "targets of type <U3"),
    ],
)
def test_what_has_no_accuracy_is_refused(targets, predictions, message):
    with pytest.raises(InputError, match=message):
        accuracy(targets, predictions)


def test_errors_fall_and_need_no_keras(k, rng):
    y, z = rng.normal(size=(8, 1)), rng.normal(size=(8, 1))
    for name in ("mae", "mse", "mean_absolute_error", "mean_squared_error"):
        score = score_of(name)
        assert score.falls
        expected = np.mean(np.asarray(k.metrics.get(name)(y, z)))
        assert score.of(y[:, 0], z) == pytest.approx(float(expected), rel=1e-5), (
            "targets without the last axis"
        )
    with pytest.raises(InputError, match=r"shape \(4,\), outputs of shape \(8, 1\)"):
        score_of("mae").of(np.zeros(4), z)


@pytest.mark.parametrize("model_of", [keras, tf_keras])
def test_objects_of_either_keras_are_read_by_the_keras_that_they_are_of(k, model_of):
    """Also where the model is of the other one."""
    flavor = flavor_of(model_of.layers.Dense)
    y = np.array([1, 0, 0])
    metric = k.metrics.SparseCategoricalAccuracy()
    metric.update_state(np.array([0, 0]), ROWS[:2].astype("float32"))
    state = float(np.asarray(metric.result()))
    score = score_of(metric, flavor)
    assert (score.falls, score.of(y, ROWS)) == (False, pytest.approx(2 / 3))
    assert float(np.asarray(metric.result())) == state, "the user's own metric stays as it was"
    for loss in (k.losses.SparseCategoricalCrossentropy(), k.losses.sparse_categorical_crossentropy):
        score = score_of(loss, flavor)
        assert score.falls
        assert score.of(y, ROWS) == pytest.approx(-np.log([0.9, 0.8, 0.3]).mean(), rel=1e-4)

    class Own(k.metrics.MeanSquaredError):
        """Of the user."""

    assert score_of(Own(name="quality"), flavor).falls


def test_names_are_those_of_the_models_keras(k):
    score = score_of("sparse_categorical_accuracy", flavor_of(k.layers.Dense))
    assert score.of(np.array([1, 0, 0]), ROWS) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="no such metric. Received: metric='acuracy'. Close names: accuracy"):
        score_of("acuracy", flavor_of(k.layers.Dense))
    with pytest.raises(InputError, match="a metric of Keras, or a function. Received: 3"):
        score_of(3)
    with pytest.raises(InputError, match="or a function. Received: <class '.*MeanSquaredError'>"):
        score_of(k.metrics.MeanSquaredError)


def test_a_metric_by_name_takes_one_output_and_a_function_all():
    y = np.array([1, 0, 0])
    for outputs in ({"class": ROWS}, [ROWS], {"a": {"b": ROWS}}):
        assert score_of("accuracy").of(y, outputs) == pytest.approx(2 / 3)
    assert score_of("accuracy").of({"class": y}, {"class": ROWS}) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="one output. Received: 2 outputs. Give a function"):
        score_of("accuracy").of(y, {"class": ROWS, "box": ROWS})
    both = {"class": ROWS, "box": ROWS}
    assert score_of(lambda targets, predictions: len(predictions)).of(y, both) == 2
