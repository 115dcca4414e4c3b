"""A layer around a quantised one may read its kernel, and cannot assign it."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import ModelError
from tests.nets import masked_convolution


def masked(k):
    """Two convolutions, of which one layer masks the first in every call."""
    x = k.Input((6, 6, 2))
    return k.Model(x, k.layers.Conv2D(3, 3, name="outer")(masked_convolution(k)(x)))


def test_a_call_that_assigns_a_quantised_kernel_is_refused_by_name(k, rng):
    data = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    with pytest.raises(ModelError, match=r"^A quantised weight .* assigns 'kernel' of layer 'inner'.*`skip`"):
        keras_trt.quantize_model(masked(k), calibration_data=data, verbose=0)


def test_left_float_it_trains_and_leaves_masked(k, rng, tmp_path):
    data = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    model = keras_trt.quantize_model(masked(k), calibration_data=data, skip=["masked"], verbose=0)
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((4, 4, 4, 3)), verbose=0)
    report = keras_trt.export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 1e-5
    assert 0 < report.int8_mac_share < 1
