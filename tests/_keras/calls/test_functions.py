"""Models with `tf.function`s inside: no trace keeps what was true when it was made."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt._keras.calls.exporting import exporting, is_exporting
from keras_trt._keras.calls.functions import forget_traces, inlined
from keras_trt.callbacks import Quantize
from keras_trt.exporting.export import export
from keras_trt.models.strip import strip
from keras_trt.quantize import calibrate, quantize_model
from keras_trt.quantize.inventory import inventory
from keras_trt.runtime import load

X = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")


def net(k, place, wrapped):
    """One custom layer around a Dense; `place` says where it has a `tf.function`, if `wrapped`."""

    def function(body, at):
        if not (wrapped and place.startswith(at)):
            return body
        return tf.function(body, jit_compile=place.endswith("XLA"))

    class Block(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = k.layers.Dense(8, name="inner")
            self.inner = function(self.dense, "around")
            self.fast = function(self._body, "attribute")

        def build(self, shape):
            self.dense.build(shape)
            self.built = True

        def _body(self, x):
            return tf.nn.relu(self.inner(x))

        def method(self, x):
            return self.fast(x)

        def call(self, x):
            return beside(self, x)

    Block.method = function(Block.method, "method")
    Block.call = function(Block.call, "call")
    beside = function(lambda layer, x: layer.method(x), "function")
    k.utils.set_random_seed(0)
    inputs = k.Input((8,))
    model = k.Model(inputs, Block(name="block")(inputs))
    model.predict(X, verbose=0)  # traces in float
    return model


def ranges(model):
    return [t.amax for t in inventory(model) if t.kind == "activation"]


def trained(model, *callbacks):
    model.compile("sgd", "mse")
    model.fit(X * 10, np.zeros((32, 8)), epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    return model


def whole_road(model, path):
    """Everything that a model is asked for, one after the other."""
    quantized = quantize_model(model, calibration_data=X, verbose=0)
    found = [ranges(quantized), quantized.predict(X, verbose=0), np.asarray(quantized(X))]
    export(quantized, path, engine=None, verbose=0)
    found += [load(path, verbose=0).predict(X, verbose=0), ranges(trained(quantized))]
    found += [quantized.predict(X, verbose=0), ranges(calibrate(quantized, X * 3, verbose=0))]
    return [*found, strip(quantized).predict(X, verbose=0)]


@pytest.mark.parametrize("place", ["call with XLA", "around a layer"])
def test_a_function_in_a_model_changes_no_number(k, place, tmp_path):
    plain = whole_road(net(k, place, wrapped=False), tmp_path / "plain")
    wrapped = whole_road(net(k, place, wrapped=True), tmp_path / "wrapped")
    for a, b in zip(plain, wrapped, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    calibrated, after_training = plain[0], plain[4]
    assert calibrated != after_training


@pytest.mark.parametrize("place", ["call", "method", "attribute", "function beside the class"])
def test_a_function_traced_in_float_epochs_is_quantised_in_the_later_ones(k, place):
    plain, wrapped = (trained(net(k, place, wrapped), Quantize(start_epoch=1)) for wrapped in (False, True))
    assert ranges(plain) == pytest.approx(ranges(wrapped))
    assert ranges(plain)[0] > 0
    np.testing.assert_allclose(plain.predict(X, verbose=0), wrapped.predict(X, verbose=0), atol=1e-5)


def test_a_training_step_that_is_a_function_is_traced_anew_when_the_model_is_quantised(k):
    class Net(k.Model):
        @tf.function
        def train_step(self, data):
            return {"seen": tf.reduce_mean(tf.abs(self(data[0], training=True)))}

    inputs = k.Input((8,))
    model = Net(inputs, k.layers.Dense(4, name="d")(inputs))
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((32, 4)), epochs=2, verbose=0, callbacks=[Quantize(start_epoch=1)])
    assert ranges(model)[0] == pytest.approx(np.abs(X).max(), rel=0.5)


def test_inlined_functions_keep_python_control_flow_over_tensors():
    @tf.function
    def magnitude(x):
        if tf.reduce_sum(x) < 0:
            x = -x
        return x

    with inlined():
        assert magnitude(np.float32([-2.0])).numpy() == 2.0
        traced = tf.function(magnitude, autograph=False)
        assert traced(tf.constant([-2.0])).numpy() == 2.0
        assert traced(tf.constant([3.0])).numpy() == 3.0


def test_functions_are_inlined_only_while_the_context_is_open():
    calls = []

    @tf.function
    def noted(x):
        calls.append(is_exporting())
        return x

    x = tf.constant(1.0)
    noted(x)
    with exporting():
        noted(x)
    noted(x)
    assert calls == [False, True]


def test_forgotten_functions_are_traced_anew():
    class Owner:
        @tf.function
        def method(self, x):
            return x * self.factor

        def __init__(self):
            self.factor, self.fast = 2.0, tf.function(lambda x: x * self.factor)

    owner, other, x = Owner(), Owner(), tf.constant(1.0)
    assert [float(f(x)) for f in (owner.method, owner.fast, other.method)] == [2.0, 2.0, 2.0]
    owner.factor = other.factor = 3.0
    forget_traces(owner)
    assert [float(f(x)) for f in (owner.method, owner.fast, other.method)] == [3.0, 3.0, 2.0]
