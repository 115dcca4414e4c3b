import pytest

from keras_trt.cli.metrics import metric_named
from keras_trt.errors import InputError


def test_metrics_by_name_or_of_the_users_own():
    assert metric_named(None) is None
    assert metric_named("accuracy") == "accuracy"
    assert metric_named("math:dist")((0, 0), (3, 4)) == 5
    with pytest.raises(InputError, match="no_such_module"):
        metric_named("no_such_module:f1")
