"""`export(max_drop=)`: four precisions are measured, and the first that is good is taken."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError
from tests.nets import images, residual_net
from tests.quantize.costs.test_budget import skewed

ALL = ["float32", "fp16", "int8", "int8+fp16"]


def exported(model, path, **options):
    return keras_trt.export(model, path, engine=None, verbose=0, **options)


def test_every_precision_is_measured_and_the_lowest_within_the_budget_taken(k, tmp_path):
    model, x, y = skewed(k)
    report = exported(model, tmp_path / "b", calibration_data=x, data=(x, y), max_drop=0.02)
    assert [each.precision for each in report.candidates] == ALL
    assert report.metric == "accuracy"
    assert [each.precision for each in report.candidates if each.is_taken] == [report.precision]
    assert report.precision == "int8+fp16"
    by_name = {each.precision: each for each in report.candidates}
    assert by_name["float32"].drop == 0
    assert by_name["int8"].int8_mac_share > 0 == by_name["fp16"].int8_mac_share
    assert by_name["fp16"].onnx_bytes < by_name["float32"].onnx_bytes
    predicted = keras_trt.load(tmp_path / "b", verbose=0).predict(x, verbose=0).argmax(-1)
    assert (predicted == y).mean() == pytest.approx(by_name["int8+fp16"].score)
    assert by_name["int8+fp16"].score >= 0.98
    assert "* taken: the first of int8+fp16, int8, fp16, float32 that is within `max_drop`" in str(report)


def test_where_nothing_in_int8_is_within_the_budget_it_stays_float(k, tmp_path):
    x, _ = images()
    model = residual_net(k)
    with pytest.warns(UserWarning, match="none is within `max_drop=0`"):
        report = exported(model, tmp_path / "b", calibration_data=x, max_drop=0.0, metric="kl")
    assert [each.precision for each in report.candidates] == ALL[:2]
    assert report.precision == "float32"
    np.testing.assert_allclose(
        keras_trt.load(tmp_path / "b", verbose=0).predict(x, verbose=0),
        model.predict(x, verbose=0),
        atol=1e-5,
    )


def test_calibration_data_with_targets_are_what_it_is_measured_on(k, tmp_path):
    model, x, y = skewed(k)
    report = exported(model, tmp_path / "b", calibration_data=(x, y), max_drop=0.5)
    assert report.metric == "accuracy"


def test_the_table_is_shown_and_the_report_plain_data(k, tmp_path, capsys):
    x, _ = images()
    report = keras_trt.export(residual_net(k), tmp_path / "b", engine=None, calibration_data=x, max_drop=1.0)
    assert "int8+fp16 *" in capsys.readouterr().out
    rows = report.to_dict()["candidates"]
    assert [row["precision"] for row in rows] == ALL
    assert {"score", "drop", "milliseconds", "runner", "onnx_bytes", "int8_mac_share"} <= set(rows[0])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"max_drop": 0.1, "precision": "fp16"},
            "`max_drop` chooses the precision. Received: precision='fp16'",
        ),
        ({"max_drop": 0.1, "route": "tf-trt"}, '`max_drop` is for route="onnx" only. Received: max_drop=0.1'),
        ({"max_drop": 0.1, "preprocess": "rescaling"}, "without `preprocess` and `postprocess`"),
        ({"data": np.ones((2, 8, 8, 3))}, "`data` and `metric` say what `max_drop` is measured by"),
        ({"metric": "accuracy"}, "`data` and `metric` say what `max_drop` is measured by"),
        ({"max_drop": -1.0}, "`max_drop` must be a number of at least 0. Received: -1.0"),
        ({"max_drop": 0.1}, "`max_drop` is kept on data: give `data=(inputs, targets)`. Received: data=None"),
    ],
)
def test_what_does_not_go_with_a_budget_is_refused(k, options, text, tmp_path):
    if options.get("preprocess"):
        options = {**options, "preprocess": k.layers.Rescaling(0.5)}
    if options.get("max_drop") == -1.0:
        options = {**options, "calibration_data": images()[0]}
    with pytest.raises(InputError) as error:
        exported(residual_net(k), tmp_path / "b", **options)
    assert text in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_quantised_model_is_refused(k, tmp_path):
    x, _ = images()
    quantized = keras_trt.quantize_model(residual_net(k), calibration_data=x, verbose=0)
    with pytest.raises(
        InputError, match=r"chooses the precision of a float model.*`keras_trt.strip\(model\)`"
    ):
        exported(quantized, tmp_path / "b", calibration_data=x, max_drop=0.1)
