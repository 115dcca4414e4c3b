"""A layer around a quantised one may read its kernel; one whose kernel it assigns stays float."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import ModelError
from keras_trt.quantize.decide import ASSIGNED_REASON, ASSIGNED_TOLD
from tests.nets import masked_convolution


def masked(k):
    """Two convolutions, of which one layer masks the first in every call."""
    x = k.Input((6, 6, 2))
    return k.Model(x, k.layers.Conv2D(3, 3, name="outer")(masked_convolution(k)(x)))


def test_a_layer_whose_kernel_a_call_assigns_stays_float_and_is_named(k, rng, tmp_path, capsys):
    data = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    model = keras_trt.quantize_model(masked(k), calibration_data=data)
    told = f"Left in float: masked/inner. {ASSIGNED_TOLD}."
    assert told in capsys.readouterr().out
    rows = {row["layer"]: row for row in keras_trt.report(model).rows}
    assert rows["masked/inner"]["reason"] == ASSIGNED_REASON
    assert [path for path, row in rows.items() if row["quantised"]] == ["outer"]
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((4, 4, 4, 3)), verbose=0)
    report = keras_trt.export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 1e-5
    assert report.float_layers == ("masked/inner",)


def test_a_call_that_assigns_only_where_it_trains_is_refused_by_name(k, rng):
    class Decaying(k.layers.Layer):
        def __init__(self):
            super().__init__(name="decaying")
            self.inner = k.layers.Dense(4, name="inner")

        def build(self, shape):
            self.inner.build(shape)
            self.built = True

        def call(self, x, training=False):
            if training:
                self.inner.kernel.assign(self.inner.kernel * 0.5)
            return self.inner(x)

    data, x = rng.normal(size=(4, 8)).astype("float32"), k.Input((8,))
    model = keras_trt.quantize_model(k.Model(x, Decaying()(x)), calibration_data=data, verbose=0)
    with pytest.raises(ModelError, match=r"A quantised weight .* assigns 'kernel' of layer 'inner'.*`skip`"):
        model(data, training=True)


def test_left_float_it_trains_and_leaves_masked(k, rng, tmp_path):
    data = rng.normal(size=(4, 6, 6, 2)).astype("float32")
    model = keras_trt.quantize_model(masked(k), calibration_data=data, skip=["masked"], verbose=0)
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((4, 4, 4, 3)), verbose=0)
    report = keras_trt.export(model, tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 1e-5
    assert 0 < report.int8_mac_share < 1
