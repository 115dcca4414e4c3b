"""What making TF-MOT's ranges symmetric costs, in numbers and sentences."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from keras_trt.errors import InputError, ModelError
from keras_trt.tfmot.accept import accept
from keras_trt.tfmot.range_loss import made_symmetric, range_report
from tests.tfmot_models import chain_net, pruned, qat, quadrants, stock_quantized


@pytest.fixture(scope="module")
def quantized():
    return stock_quantized(chain_net())


def test_each_tensor_has_a_row_with_its_ends_and_both_steps(quantized):
    report = range_report(quantized)
    assert [row["layer"] for row in report.rows] == ["conv", "depthwise", "pointwise", "logits"]
    for row in report.rows:
        assert row["amax"] == max(-row["minimum"], row["maximum"])
        assert row["step"] == pytest.approx((row["maximum"] - row["minimum"]) / 255)
        assert row["int8_step"] == pytest.approx(row["amax"] / 127)
        assert row["coarser"] == pytest.approx(row["int8_step"] / row["step"])
    assert report.rows[0]["minimum"] == 0  # pixels
    assert report.rows[0]["coarser"] == pytest.approx(255 / 127, rel=1e-4)
    assert "4 activation ranges of TF-MOT were made symmetric" in str(report)
    assert json.loads(report.to_json())["rows"][0]["layer"] == "conv"


def test_a_range_not_learned_yet_is_empty_in_the_report():
    report = range_report(qat.quantize_model(chain_net()))
    assert all(row["amax"] is None for row in report.rows)
    assert report.notes == ()


class Shards(tf_keras.utils.Sequence):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.x[i::3], self.y[i::3]


@pytest.mark.parametrize("kind", ["arrays", "dataset", "batches", "sequence", "list of inputs"])
def test_the_accuracy_before_and_after_is_measured_on_labelled_data(quantized, kind):
    x, y = quadrants(96, seed=5)
    data = {
        "arrays": (x, y),
        "dataset": tf.data.Dataset.from_tensor_slices((x, y)).batch(32),
        "batches": [(x[:50], y[:50]), (x[50:], y[50:])],
        "sequence": Shards(x, y),
        "list of inputs": ([x], y),
    }[kind]
    note = range_report(quantized, data).notes[-1]
    before = quantized.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    after = (accept(quantized).model.predict(x, verbose=0).argmax(-1) == y).mean()
    assert note == f"accuracy on 96 samples: {before:.4f} before, {after:.4f} after."


def test_a_metric_of_the_users_own_is_used_by_its_name(quantized):
    def mean_probability(targets, predictions):
        return predictions[np.arange(len(targets)), targets].mean()

    note = range_report(quantized, quadrants(16), metric=mean_probability).notes[-1]
    assert note.startswith("mean_probability on 16 samples: 0.")


def test_a_dataset_given_to_export_gives_the_accuracy_too(quantized):
    labelled = tf.data.Dataset.from_tensor_slices(quadrants(32)).batch(16)
    assert "accuracy on 32 samples" in made_symmetric(quantized, labelled)[1][-1]
    images_only = labelled.map(lambda x, y: x)
    assert len(made_symmetric(quantized, images_only)[1]) == 1
    regression = labelled.map(lambda x, y: (x, tf.cast(y, tf.float32) + 0.5))
    assert (
        "was not measured: Accuracy compares numbers of classes"
        in made_symmetric(quantized, regression)[1][-1]
    )


def test_models_without_ranges_have_nothing_to_say():
    plain = chain_net()
    assert made_symmetric(plain) == (plain, [])
    assert made_symmetric(pruned(plain, epochs=1))[1] == []
    with pytest.raises(ModelError, match="holds no layer wrapped by TF-MOT"):
        range_report(plain)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((np.zeros((2, 8, 8, 3)),), r"`data` must hold targets: \(inputs, targets\). Received: a tuple of 1"),
        ([np.zeros((2, 8, 8, 3))], "a list of 1"),
        ([], "no batch"),
    ],
)
def test_data_without_targets_is_refused(quantized, data, message):
    with pytest.raises(InputError, match=message):
        range_report(quantized, data)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ModelError, match="no weights yet"):
        range_report(tf_keras.Sequential([tf_keras.layers.Dense(2)]))
