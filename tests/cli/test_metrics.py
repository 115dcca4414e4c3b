import numpy as np
import pytest

from keras_trt.cli.metrics import accuracy, mae, metric_named
from keras_trt.cli.result import UsageError
from keras_trt.errors import InputError


def test_accuracy_of_classes_one_hot_and_of_one_number():
    predictions = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.7, 0.3]])
    assert accuracy(np.array([1, 0, 0, 0]), predictions) == 0.75
    assert accuracy(np.array([[1], [0], [0], [0]]), predictions) == 0.75
    assert accuracy(np.eye(2)[[1, 0, 0, 0]], predictions) == 0.75
    assert accuracy(np.array([1, 0, 1]), np.array([[0.9], [0.2], [0.4]])) == pytest.approx(2 / 3)


def test_the_mean_absolute_error():
    assert mae(np.array([1.0, 2.0]), np.array([[1.5], [1.0]])) == 0.75


def test_metrics_by_name_or_of_the_users_own():
    assert metric_named(None) is None
    assert metric_named("accuracy") is accuracy
    assert metric_named("math:dist")((0, 0), (3, 4)) == 5
    with pytest.raises(UsageError, match="--metric: accuracy, mae or module:function is needed"):
        metric_named("f1")


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"targets of shape \(3,\)"):
        accuracy(np.zeros(3), np.zeros((4, 2)))
    with pytest.raises(InputError, match="models with one output"):
        accuracy(np.zeros(3), [np.zeros((3, 2)), np.zeros((3, 2))])
