"""Models quantised by TF-MOT become models of quantised twins with symmetric ranges."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

from keras_trt.quantize.inventory import inventory
from keras_trt.tfmot.accept import accept
from keras_trt.tfmot.convert import convert
from keras_trt.twins.twins import is_twin
from tests.tfmot_models import chain_net, fitted, float_net, predict, qat, stock_quantized


@pytest.fixture(scope="module")
def quantized():
    return stock_quantized(float_net())


@pytest.fixture(scope="module")
def conversion(quantized):
    return convert(quantized)


def ranges(model):
    """{quantiser's layer: amax}."""
    return {t.layer: t.amax for t in inventory(model) if t.kind == "activation"}


def trained(model, x=None, y=None):
    """The model after a few steps on normal data of its input's shape."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, *model.input_shape[1:])).astype("float32") if x is None else x
    y = np.zeros((len(x), *model.output_shape[1:]), np.float32) if y is None else y
    model.compile("sgd", "mse")
    model.fit(x, y, epochs=2, verbose=0)
    return model


def test_a_plain_model_is_returned_as_it_is():
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    assert accept(model).model is model


def test_layers_that_tensorrt_runs_in_int8_become_twins(conversion):
    twins = {layer.name for layer in conversion.model.layers if is_twin(layer)}
    assert {"stem", "depthwise", "strided", "probabilities", "add", "average"} <= twins
    assert not twins & {"stem_bn", "stem_relu", "add_relu", "max", "both", "pad", "flatten"}


def test_every_range_is_the_largest_end_of_what_tfmot_learned(quantized, conversion):
    held = {w.name: float(w.numpy()) for w in quantized.weights if w.shape == ()}
    found = ranges(conversion.model)
    for layer, name in (("depthwise", "post_activation"), ("strided", "output")):
        wrapper = {"depthwise": "quant_conv2d", "strided": "quant_add_relu"}[layer]
        ends = [v for n, v in held.items() if n.startswith(wrapper) and f"/{name}_" in n]
        assert found[layer] == pytest.approx(max(map(abs, ends)), rel=1e-6)
    assert all(amax > 0 for amax in found.values())
    assert all(tensor.learned is not None for tensor in conversion.inputs)


def test_ranges_are_found_through_layers_that_only_move_values(conversion):
    found = ranges(conversion.model)
    by_layer = {tensor.layer: tensor.learned for tensor in conversion.inputs}
    assert by_layer["strided"].amax == found["strided"]  # through ZeroPadding2D
    assert by_layer["probabilities"].amax == found["probabilities"]  # through Dropout and Flatten


def test_predictions_stay_within_quantisation_noise(quantized, conversion):
    before, after = predict(quantized), predict(conversion.model)
    assert np.abs(before - after).mean() < 0.02
    assert (before.argmax(-1) == after.argmax(-1)).mean() > 0.9


def test_a_converted_model_trains_on_and_its_ranges_move(quantized):
    model = accept(quantized).model
    before = ranges(model)
    fitted(model, epochs=1)
    assert ranges(model) != before
    assert ranges(accept(quantized).model) == before


def test_ranges_not_learned_yet_stay_unknown():
    model = accept(qat.quantize_model(chain_net())).model
    assert set(ranges(model).values()) == {0.0}
    assert {t.layer for t in inventory(model) if t.kind == "weight"} == {
        "conv", "depthwise", "pointwise", "logits",
    }  # fmt: skip


def test_only_annotated_layers_become_twins():
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Dense(8, activation="relu", input_shape=(4,), name="float"),
            qat.quantize_annotate_layer(layers.Dense(8, activation="relu", name="quantised")),
            layers.Dense(2, name="head"),
        ]
    )
    converted = accept(trained(qat.quantize_apply(model))).model
    assert {t.layer for t in inventory(converted)} == {"quantised"}
    assert ranges(converted)["quantised"] > 0


def test_outputs_of_bounded_functions_have_their_bounds_as_range():
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Dense(8, activation="sigmoid", input_shape=(4,), name="a"),
            layers.Dense(8, activation="tanh", name="b"),
            layers.Dense(8, name="c"),
            layers.Softmax(name="softmax"),
            layers.Dense(2, name="d"),
        ]
    )
    found = ranges(accept(trained(qat.quantize_model(model))).model)
    assert found["b"] == found["c"] == found["d"] == 1.0


def test_a_concatenation_has_the_range_that_holds_all_it_joins():
    layers = tf_keras.layers
    inputs = tf_keras.Input((4,))
    a = qat.quantize_annotate_layer(layers.Dense(4, activation="relu", name="a"))(inputs)
    b = qat.quantize_annotate_layer(layers.Dense(4, activation="tanh", name="b"))(inputs)
    joined = layers.Concatenate(name="joined")([a, b])  # not annotated: TF-MOT does not quantise it
    outputs = qat.quantize_annotate_layer(layers.Dense(2, name="c"))(joined)
    model = trained(qat.quantize_apply(tf_keras.Model(inputs, outputs)))
    learned = convert(model).inputs
    c = next(tensor.learned for tensor in learned if tensor.layer == "c")
    assert c.minimum <= -1.0
    assert c.maximum >= 1.0


def test_several_inputs_and_outputs_stay_in_order():
    layers = tf_keras.layers
    first, second = tf_keras.Input((4,), name="first"), tf_keras.Input((4,), name="second")
    a = layers.Dense(4, activation="relu", name="a")(first)
    b = layers.Dense(4, activation="relu", name="b")(second)
    both = layers.Add(name="both")([a, b])
    model = tf_keras.Model(
        [first, second], [layers.Dense(2, name="x")(both), layers.Dense(3, name="y")(both)]
    )
    wrapped = qat.quantize_model(model)
    wrapped.compile("sgd", ["mse", "mse"])
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(16, 4)).astype("float32") for _ in range(2)]
    wrapped.fit(data, [np.zeros((16, 2)), np.zeros((16, 3))], epochs=2, verbose=0)
    converted = accept(wrapped).model
    assert converted.input_names == ["first", "second"]
    assert [o.shape[-1] for o in converted.outputs] == [2, 3]
    for one, other in zip(wrapped.predict(data, verbose=0), converted.predict(data, verbose=0), strict=True):
        assert np.abs(one - other).mean() < 0.05


def test_layers_with_slashes_in_their_names_are_found():
    layers = tf_keras.layers
    inputs = tf_keras.Input((4,))
    x = layers.Dense(4, activation="relu", name="block/a")(inputs)
    model = trained(qat.quantize_model(tf_keras.Model(inputs, layers.Dense(2, name="block/b")(x))))
    found = ranges(accept(model).model)
    assert found.keys() == {"block/a", "block/b"}
    assert all(amax > 0 for amax in found.values())
