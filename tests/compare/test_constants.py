"""Layers called on constants, whose rounded values the exported file holds, and on data too."""

import pytest

import keras_trt
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.compare.constants import constant_calls
from keras_trt.quantize.inventory import activation_quantizers
from keras_trt.trace.trace import trace


def _learned(k, use):
    """A model with a layer of eight learned rows; `use(layer, rows, x)` says what becomes of them."""

    class Learned(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.first = k.layers.Dense(8, activation="relu", name="first")
            self.second = k.layers.Dense(8, name="second")
            self.attention = k.layers.Attention(name="attention")
            self.heads = k.layers.MultiHeadAttention(2, 4, name="heads")
            self.add = k.layers.Add(name="add")

        def build(self, shape):
            self.rows = self.add_weight(name="rows", shape=(1, 8, 8), initializer="random_normal")
            self.built = True

        def call(self, x):
            return use(self, 1.0 * self.rows, x)

    inputs = k.Input((8, 8))
    return k.Model(inputs, Learned(name="learned")(inputs))


def _quantized(model, x):
    return keras_trt.quantize_model(
        model, calibration_data=x, method="max", recover=None, min_sqnr=None, verbose=0
    )


USES = {
    "one layer on both": lambda it, rows, x: it.first(it.first(rows) + x),
    "three times": lambda it, rows, x: it.second(it.second(it.first(rows)) + it.first(x)),
    "attention": lambda it, rows, x: it.attention([it.first(rows) + 0 * x, it.first(x)]),
    "attention of heads": lambda it, rows, x: it.heads(it.second(rows) + 0 * x, it.second(x)),
    "sum": lambda it, rows, x: it.second(it.add([it.first(rows) + 0 * x, it.second(x)])),
}


@pytest.mark.parametrize("use", USES)
def test_a_layer_on_constants_and_on_data_is_exported(k, use, rng, tmp_path):
    model, x = _learned(k, USES[use]), rng.standard_normal((16, 8, 8)).astype("float32")
    quantized = _quantized(model, x)
    report = keras_trt.export(quantized, tmp_path / "net", engine=None, calibration_data=x, verbose=0)
    assert report.verified_with


def test_of_two_calls_the_one_on_a_constant_is_named(k, rng):
    model, x = _learned(k, USES["one layer on both"]), rng.standard_normal((4, 8, 8)).astype("float32")
    quantized = _quantized(model, x)
    traced = trace(quantized)
    (quantizer,) = (
        q for path, q in activation_quantizers(flavor_of(model), quantized) if path.endswith("first")
    )
    feeds = {traced.inputs[0].name: x}
    assert constant_calls(quantized, traced, feeds) == {(id(quantizer), 0)}
