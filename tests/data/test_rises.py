"""Which way a metric is better is said once: callbacks, searches and scores go by it."""

import pytest

from keras_trt.callbacks.course import search_for
from keras_trt.callbacks.monitored import Monitored
from keras_trt.data.rises import rises
from keras_trt.data.scores import score_of

FALLS = ["val_loss", "val_mae", "MeanSquaredError", "val_mape", "val_msle", "val_hinge", "false_positives"]
FALLS += ["val_categorical_crossentropy", "kl_divergence", "val_poisson", "val_logcosh", "val_perplexity"]
RISES = ["val_engine_accuracy", "val_auc", "mean_io_u_iou", "f1_score", "val_top_k_categorical_accuracy"]


@pytest.mark.parametrize(
    ("name", "rising"),
    [*((name, False) for name in FALLS), *((name, True) for name in RISES), ("throughput", None)],
)
def test_the_direction_of_a_metric(name, rising):
    assert rises(name) is rising
    if rising is not None:
        assert Monitored(name).rising is rising
    assert search_for(None, {}, None, name, "auto", 0.1, 1).higher_is_better is (rising is not False)


@pytest.mark.parametrize("name", ["mape", "poisson", "hinge", "msle"])
def test_scores_go_the_same_way(k, name):
    assert score_of(k.metrics.get(name)).falls
