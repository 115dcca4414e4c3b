"""Networks trained here, over the whole road by its defaults."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from tests.trained.networks import recurrent, segmentation, text, trained
from tests.trained.road import decibels, outputs, walked


@pytest.mark.slow
@pytest.mark.parametrize("make", [segmentation, text, recurrent])
def test_a_trained_network_decides_as_in_float(k, make, tmp_path):
    task = make(k)
    model, (x, y) = trained(k, task), task.test
    (exact,), (found,), quantized = walked(model, tmp_path, task.train[0][:256], x)
    right, right_in_float = (np.mean(each.argmax(-1) == y) for each in (found, exact))
    assert right_in_float > 0.8
    assert np.mean(found.argmax(-1) == exact.argmax(-1)) >= 0.99
    assert abs(right - right_in_float) < 0.003
    assert decibels(found, exact) >= 25
    keras_trt.save_model(quantized, tmp_path / "net.keras")
    np.testing.assert_array_equal(
        outputs(keras_trt.load_model(tmp_path / "net.keras"), x), outputs(quantized, x)
    )
