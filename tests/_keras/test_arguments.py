"""Models whose `call` needs several arguments are refused where they would be called on one."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt._keras.arguments import required_arguments
from keras_trt.errors import ModelError

X = np.ones((4, 8), np.float32)
NEEDS_TWO = (
    r"The `call` of model 'two' needs 2 arguments\. Received: call\(x, y\)\..* a list, a tuple or a dict"
)


def two(k, *, builds=False):
    class Two(k.Model):
        def __init__(self, name="two", **options):
            super().__init__(name=name, **options)
            self.a, self.b = k.layers.Dense(16, name="a"), k.layers.Dense(4, name="b")

        def call(self, x, y, training=None):
            return self.b(self.a(x) + self.a(y))

        def get_config(self):
            return {"name": self.name}

    def build(self, *_):
        self.a.build((None, 8))
        self.b.build((None, 16))
        self.built = True

    if builds:
        Two.build = build
    model = Two()
    model(X, X)
    return model


def test_what_a_call_cannot_do_without(k):
    class Net(k.Model):
        def call(self, x, training, mask, scale=1.0, *rest, sign, **options):
            return x

    assert required_arguments(Net()) == ["x", "sign"]
    assert required_arguments(two(k)) == ["x", "y"]
    x = k.Input((8,))
    assert len(required_arguments(k.Model([x, k.Input((8,))], x))) == 1


def test_data_and_exports_are_refused_and_training_by_hand_is_not(k, tmp_path):
    model = two(k)
    for data in ([X, X], (X, X), X):
        with pytest.raises(ModelError, match=NEEDS_TWO):
            keras_trt.quantize_model(model, calibration_data=data, verbose=0)
    with pytest.raises(ModelError, match=NEEDS_TWO):
        keras_trt.export(model, tmp_path / "b", engine=None, verbose=0)
    assert not any(tmp_path.iterdir())
    quantized = keras_trt.quantize_model(model, verbose=0)
    assert quantized(X, X).shape == (4, 4)


def test_a_file_that_could_not_be_loaded_is_not_written(k, tmp_path):
    told = r"The file of model 'two' could not be loaded: .* Received: call\(x, y\)\. Write such a `build`"
    for model in (two(k), keras_trt.quantize_model(two(k), verbose=0)):
        with pytest.raises(ModelError, match=told):
            keras_trt.save_model(model, tmp_path / "m.keras")
    assert not any(tmp_path.iterdir())


def test_a_class_that_builds_itself_comes_back(k, tmp_path):
    model = two(k, builds=True)
    quantized = keras_trt.quantize_model(model, ranges={"a": 2.0, "b": 4.0}, verbose=0)
    keras_trt.save_model(quantized, tmp_path / "m.keras")
    back = keras_trt.load_model(tmp_path / "m.keras", custom_objects={"Two": type(model)})
    np.testing.assert_array_equal(back(X, X), quantized(X, X))
