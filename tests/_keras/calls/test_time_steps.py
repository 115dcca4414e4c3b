"""All steps of a TimeDistributed layer are computed at once, with Keras's numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from keras_trt._keras.calls.time_steps import can_be_at_once
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.convert.convert import convert
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.trace.trace import trace
from tests.onnx_tools import floats, ops, run


def sequential(k, shape, *layers):
    return k.Sequential([k.Input(shape, name="x"), *layers])


def frames(k):
    L = k.layers
    inner = [L.Conv2D(3, 3, activation="relu"), L.BatchNormalization(), L.GlobalAveragePooling2D()]
    return k.Sequential([k.Input((6, 6, 2)), *inner], name="frames")


WRAPPED = {
    "dense": ((4, 5), lambda k: k.layers.Dense(3, activation="relu"), "MatMul"),
    "convolution": ((4, 6, 6, 2), lambda k: k.layers.Conv2D(3, 3), "Conv"),
    "model": ((4, 6, 6, 2), frames, "Conv"),
    "nested": ((4, 2, 6, 6, 2), lambda k: k.layers.TimeDistributed(k.layers.Conv2D(3, 3)), "Conv"),
    "recurrent": ((4, 3, 5), lambda k: k.layers.LSTM(2), "LSTM"),
}


@pytest.mark.parametrize("length", ["fixed", "open"])
@pytest.mark.parametrize("case", WRAPPED)
def test_the_wrapped_layer_is_in_the_graph_once(k, case, length):
    shape, layer, operator = WRAPPED[case]
    given = shape if length == "fixed" else (None, *shape[1:])
    net = sequential(k, given, k.layers.TimeDistributed(layer(k)))
    model, x = convert(trace(net)), floats(3, *shape)
    found = run(model, x=x)
    np.testing.assert_allclose(next(iter(found.values())), net(x), atol=1e-5)
    assert (Counter(ops(model))[operator], Counter(ops(model))["Loop"]) == (1, 0)


def test_masks_are_those_of_the_steps(k):
    net = sequential(k, (4, 3, 2), k.layers.Masking(), k.layers.TimeDistributed(k.layers.LSTM(2)))
    x = floats(3, 4, 3, 2)
    x[0, 2:] = x[1, 0] = 0
    found = run(convert(trace(net)), x=x)
    np.testing.assert_allclose(next(iter(found.values())), net(x), atol=1e-5)


def test_an_activation_that_looks_at_other_axes_sees_those_of_one_step(k):
    import tensorflow as tf

    def centred(x):
        return x - tf.reduce_mean(x, axis=1, keepdims=True)

    net = sequential(k, (4, 5), k.layers.TimeDistributed(k.layers.Dense(3, activation=centred)))
    x = floats(2, 4, 5)
    np.testing.assert_allclose(next(iter(run(convert(trace(net)), x=x).values())), net(x), atol=1e-5)


def test_a_call_that_looks_at_other_axes_sees_those_of_one_step(k):
    import tensorflow as tf

    class Centred(k.layers.Dense):
        def call(self, x):
            return super().call(x - tf.reduce_mean(x, axis=1, keepdims=True))

    net = sequential(k, (4, 5), k.layers.TimeDistributed(Centred(3)))
    x = floats(2, 4, 5)
    np.testing.assert_allclose(next(iter(run(convert(trace(net)), x=x).values())), net(x), atol=1e-5)


def test_the_layer_is_left_as_it_was_even_after_an_error(k, monkeypatch):
    layer = k.layers.TimeDistributed(k.layers.Dense(3))
    net = sequential(k, (4, 5), layer)
    trace(net)
    assert "call" not in vars(layer)

    def fails(*_, **__):
        raise ValueError("broken")

    monkeypatch.setattr("keras_trt._keras.calls.time_steps._joined", fails)
    monkeypatch.setattr("keras_trt._keras.calls.time_steps._is_dense", fails)
    with pytest.raises(Exception, match="broken"):
        trace(net)
    assert "call" not in vars(layer)


@pytest.mark.parametrize("scheme", ["int8", "fp8"])
@pytest.mark.parametrize("case", ["dense", "model"])
def test_a_quantised_layer_inside_is_found_and_right(k, case, scheme, tmp_path):
    shape, layer, _ = WRAPPED[case]
    x = floats(8, *shape)
    net = quantize_model(
        sequential(k, shape, k.layers.TimeDistributed(layer(k))), scheme, calibration_data=x, verbose=0
    )
    report = export(net, tmp_path / "net", engine=None, verify=False, verbose=0)
    assert report.int8_mac_share == 1.0 or report.fp8_layers
    found = next(iter(run(tmp_path / "net" / "model.onnx", x=x).values()))
    np.testing.assert_allclose(found, net(x), atol=0.02 * np.abs(net(x)).max())


@pytest.mark.parametrize("case", ["dense", "convolution", "model", "nested"])
def test_a_quantised_layer_is_called_once_in_inference_with_the_numbers_of_its_steps(k, case, monkeypatch):
    shape, layer, _ = WRAPPED[case]
    x = floats(8, *shape)
    wrapper = k.layers.TimeDistributed(layer(k))
    net = quantize_model(sequential(k, shape, wrapper), calibration_data=x, min_sqnr=None, verbose=0)
    at_once, calls = net.predict(x, verbose=0), []
    inner = type(net.layers[-1].layer)
    call = inner.call

    def counted(self, *args, **options):
        calls.append(self)
        return call(self, *args, **options)

    monkeypatch.setattr(inner, "call", counted)
    net(x, training=False)
    called = sum(layer is net.layers[-1].layer for layer in calls)
    assert called == 1 or (case, called) == ("model", 2)  # tf_keras calls one for its mask, too
    monkeypatch.setattr("keras_trt.twins.twins.can_be_at_once", lambda *_: False)
    np.testing.assert_allclose(net(x, training=False), at_once, atol=1e-6)


def test_steps_are_computed_one_by_one_in_training_where_that_is_not_the_same(k):
    dense, model = k.layers.TimeDistributed(k.layers.Dense(3)), k.layers.TimeDistributed(frames(k))
    flavor = flavor_of(model)
    assert can_be_at_once(flavor, dense, True)
    assert can_be_at_once(flavor, model, False) and can_be_at_once(flavor, model, None)
    assert not can_be_at_once(flavor, model, True)
    assert not can_be_at_once(flavor, frames(k), False)
