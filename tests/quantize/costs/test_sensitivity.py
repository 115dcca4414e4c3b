from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import InputError
from keras_trt.quantize import SensitivityReport, quantize_model, sensitivity
from tests.nets import images, residual_net


@pytest.fixture
def model(k):
    k.utils.set_random_seed(0)
    return residual_net(k)


def test_each_loss_is_that_of_the_model_with_only_that_layer_quantised_and_the_model_stays(model):
    x, _ = images()
    before = model.predict(x, verbose=0).astype("float64")
    found = sensitivity(model, x, verbose=0)
    assert set(found.losses) == {
        "stem", "separable", "depthwise", "add", "strided", "average", "probabilities",
    }  # fmt: skip
    assert all(loss >= 0 for loss in found.losses.values())
    assert list(found.losses.values()) == sorted(found.losses.values(), reverse=True)
    assert np.array_equal(model.predict(x, verbose=0), before)
    for name in ("stem", "add"):
        alone = quantize_model(model, calibration_data=x, only=name, verbose=0).predict(x, verbose=0)
        loss = np.mean((alone - before) ** 2) / before.var()
        # Not the same number: calibration saw the other layers' weights rounded.
        assert found.losses[name] == pytest.approx(loss, rel=0.25)


def test_the_layer_with_a_ruined_range_is_worst_and_can_be_skipped(k, model):
    x, _ = images()
    kernel, bias = model.get_layer("strided").get_weights()
    kernel[0, 0, :, 0] *= 1e3  # one huge weight leaves the rest of its channel no levels
    model.get_layer("strided").set_weights([kernel, bias])
    found = sensitivity(model, x, method="max", only=[k.layers.Conv2D], verbose=0)
    assert found.worst(1) == ["strided"]
    assert "strided" in str(found)


def test_a_metric_is_used_and_needs_targets(model):
    x, y = images()

    def accuracy(targets, predictions):
        return float((predictions.argmax(-1) == targets).mean())

    found = sensitivity(model, (x, y), only=["stem", "add"], metric=accuracy, verbose=0)
    assert set(found.losses) == {"stem", "add"}
    assert all(-1 <= loss <= 1 for loss in found.losses.values())
    with pytest.raises(InputError, match="compares with targets"):
        sensitivity(model, x, metric=accuracy, verbose=0)


def test_the_losses_are_drawn_worst_first(tmp_path):
    report = SensitivityReport({"b": 0.5, "a": 0.25}, "int8")
    (axes,) = report.plot(tmp_path / "losses.png").axes
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert axes.yaxis_inverted()


def test_the_cache_saves_measuring_again_but_not_with_other_options(model, tmp_path):
    x, y = images()
    calls = []

    def fit_of(targets, predictions):
        calls.append(1)
        return float(np.mean(predictions.argmax(1) == targets))

    options = {"metric": fit_of, "only": ["stem", "strided"], "cache": tmp_path / "c.json", "verbose": 0}
    first = sensitivity(model, (x, y), **options)
    measured = len(calls)
    assert sensitivity(model, (x, y), **options).losses == first.losses
    again = len(calls) - measured
    assert measured - again == 2  # the float model is measured each time
    sensitivity(model, (x, y), method="max", **options)
    assert len(calls) == measured + again + measured
