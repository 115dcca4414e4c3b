"""Placement by shape on whole models of either Keras: chosen, told, stored, kept by copies and recipes."""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError, ModelError
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.decide import (
    CHANGED_REASON,
    OWN_SEPARABLE_REASON,
    READ_REASON,
    READ_TOLD,
    READ_TOO,
    REPLACED_REASON,
    left_by_shape,
    placement_of,
)
from keras_trt.quantize.plan_quantization import plan_quantization
from tests.nets import layers_with_own_calls

QUANTIZE = partial(keras_trt.quantize_model, placement="tensorrt", verbose=0)
PLAN = partial(keras_trt.plan, placement="tensorrt", check_import=False)

SMALL = "faster in float: a matrix of 16 x 10: tensor cores are slower below 16 in int8"


def network(k):
    """Two layers that gain from int8, and one that does not."""
    x = k.Input((8, 8, 3), name="image")
    y = k.layers.Conv2D(16, 3, name="stem")(x)
    y = k.layers.GlobalAveragePooling2D(name="pool")(y)
    y = k.layers.Dense(16, name="wide")(y)
    return k.Model(x, k.layers.Dense(10, name="head")(y), name="net")


def reasons(report):
    return {row["layer"]: row["reason"] for row in report.rows}


def quantized(model):
    return {row["layer"] for row in keras_trt.report(model).rows if row["quantised"]}


def test_it_leaves_the_head_in_float_and_all_does_not(k):
    model, x = network(k), np.random.default_rng(0).random((4, 8, 8, 3), "float32")
    by_shape = QUANTIZE(model, calibration_data=x)
    assert quantized(by_shape) == {"stem", "pool", "wide"}
    assert reasons(keras_trt.report(by_shape))["head"] == SMALL
    assert left_by_shape(*_of(by_shape)) == ["head"]
    everything = QUANTIZE(model, calibration_data=x, placement="all")
    assert quantized(everything) == {"stem", "pool", "wide", "head"}
    assert left_by_shape(*_of(everything)) == [] == left_by_shape(*_of(model))


def test_plan_says_it_before(k):
    model = network(k)
    plan = PLAN(model)
    assert plan.title == "Plan of net: 3 of 5 layers quantised, 1 left in float for their shapes"
    assert reasons(plan)["head"] == SMALL
    assert "shapes" not in PLAN(model, placement="all").title
    fp8 = reasons(PLAN(model, "fp8"))
    assert fp8["stem"] == "faster in float: a convolution of 3 to 16 channels a group: fp8 gains above 16"
    assert "faster" not in str(reasons(PLAN(model, "int8-weights")))


def test_what_only_names_is_wanted(k):
    model = QUANTIZE(network(k), only=["head"])
    assert quantized(model) == {"head"}


def test_what_only_serves_a_layer_by_shape_in_float_is_float_too(k):
    x = k.Input((8, 8, 16))
    pool = k.layers.GlobalAveragePooling2D(name="pool")(k.layers.Conv2D(16, 3, name="c")(x))
    model = k.Model(x, k.layers.Dense(10, name="head")(pool))
    assert quantized(QUANTIZE(model)) == {"c"}


@pytest.mark.parametrize("placement", ["tensorrt", "all"])
def test_files_copies_and_recipes_keep_it(k, placement, tmp_path):
    model = QUANTIZE(network(k), placement=placement, recover=None)
    assert placement_of(*_of(model)) == placement
    keras_trt.save_model(model, tmp_path / "net.keras")
    assert placement_of(*_of(keras_trt.load_model(tmp_path / "net.keras"))) == placement
    assert placement_of(*_of(keras_trt.quantize_model(model, verbose=0))) == placement  # nothing left to do
    recipe = keras_trt.Recipe.of(model)
    recipe.to_json(tmp_path / "recipe.json")
    followed = keras_trt.quantize_model(network(k), recipe=tmp_path / "recipe.json", verbose=0)
    assert quantized(followed) == quantized(model)
    assert keras_trt.Recipe.of(followed) == recipe
    assert recipe.placement == placement


def test_recipes_and_layers_of_older_files_have_everything(k):
    text = keras_trt.Recipe.of(QUANTIZE(network(k))).to_json()
    older = text.replace(', "placement": "tensorrt"', "").replace(',\n  "placement": "tensorrt"', "")
    assert "placement" not in older
    assert keras_trt.Recipe.from_json(older).placement == "all"


def test_training_by_the_callback(k):
    x, y = np.zeros((4, 8, 8, 3), "float32"), np.zeros(4)
    for placement, expected in (
        ("tensorrt", {"stem", "pool", "wide"}),
        ("all", {"stem", "pool", "wide", "head"}),
    ):
        model = network(k)
        model.compile("sgd", k.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(x, y, verbose=0, callbacks=[keras_trt.callbacks.Quantize(placement=placement)])
        assert quantized(model) == expected


def test_the_share_of_int8_counts_what_gains(k, tmp_path):
    x = np.ones((4, 8, 8, 3), "float32")
    for skip, in_float in (((), ("head",)), (("wide",), ("wide", "head"))):
        model = QUANTIZE(network(k), calibration_data=x, skip=skip)
        report = keras_trt.export(model, tmp_path / str(skip), engine=None, verify=False, verbose=0)
        assert (report.int8_mac_share == 1.0) == (not skip)
        assert report.float_layers == in_float


def test_nothing_that_gains_is_an_error_with_the_way_out(k):
    x, y = np.zeros((4, 4), "float32"), np.zeros((4, 3), "float32")
    model = k.Sequential([k.Input((4,)), k.layers.Dense(3, name="tiny")])
    model.compile("sgd", "mse")
    callback = keras_trt.callbacks.Quantize(placement="tensorrt")
    for call in (
        lambda: QUANTIZE(model),
        lambda: QUANTIZE(model, copy=False),
        lambda: QUANTIZE(model, data=(x, y), metric="mse", max_drop=0.5),
        lambda: model.fit(x, y, verbose=0, callbacks=[callback]),
        lambda: keras_trt.sensitivity(model, x, placement="tensorrt", verbose=0),
    ):
        with pytest.raises(
            ModelError, match=r"tensor cores are slower below 16 in int8.* `placement=\"all\"`"
        ):
            call()
    plan = PLAN(model)
    assert plan.title.endswith("0 of 2 layers quantised, 1 left in float for their shapes")
    assert plan.notes == (
        'Nothing would be quantised. `placement="all"` quantises also what is faster in float.',
    )
    assert PLAN(model, placement="all").notes == PLAN(network(k)).notes == ()
    assert reasons(plan)["tiny"].startswith("faster in float: a matrix of 4 x 3")
    assert quantized(model) == set()


def test_every_way_in_has_the_same_default():
    ways = [
        keras_trt.quantize_model,
        keras_trt.plan,
        keras_trt.sensitivity,
        keras_trt.callbacks.Quantize,
        plan_quantization,
        keras_trt.Recipe,
    ]
    assert {inspect.signature(way).parameters["placement"].default for way in ways} == {DEFAULT}


@pytest.mark.parametrize("wrong", ["fast", None, 1, ["all"]])
def test_unknown_placements_are_refused(k, wrong):
    model = network(k)
    for call in (
        lambda: keras_trt.quantize_model(model, placement=wrong),
        lambda: keras_trt.plan(model, placement=wrong),
        lambda: keras_trt.callbacks.Quantize(placement=wrong),
    ):
        with pytest.raises(InputError, match=r"`placement` must be one of \['tensorrt', 'all'\]. Received: "):
            call()


def _of(model):
    from keras_trt._keras.flavor_of import flavor_of

    return flavor_of(model), model


def with_own_calls(k):
    """A network of layers with calls of their own; of the first, int8 would not be what it computes."""
    own = layers_with_own_calls(k)
    k.utils.set_random_seed(0)
    x = k.Input((6, 6, 3), name="image")
    y = own["Centred"](3, name="centred")(x)
    y = k.layers.GlobalMaxPooling2D()(y)
    for name in ("Lower", "Adapted", "FourBits"):
        y = own[name](16, name=name.lower())(y)
    return k.Model(x, y, name="own")


def test_layers_that_change_their_kernels_stay_float_and_are_named(k, tmp_path, capsys):
    model, x = with_own_calls(k), np.random.default_rng(0).random((16, 6, 6, 3), "float32")
    assert reasons(plan_quantization(model))["centred"] == CHANGED_REASON
    model = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, recover=None)
    told = f"Left in float: centred. Each has a `call` of its own: {CHANGED_REASON}."
    assert told in capsys.readouterr().out
    assert quantized(model) == {"lower", "adapted", "fourbits"}
    assert reasons(keras_trt.report(model))["centred"] == CHANGED_REASON
    found = keras_trt.export(model, tmp_path / "b", engine=None, verbose=0)
    assert found.weights == {"int8": 3}
    own = {name: model.get_layer(name).quantization for name in ("lower", "adapted", "fourbits")}
    assert [name for name, scheme in own.items() if scheme.self_rounding] == ["fourbits"]
    predicted = keras_trt.load(tmp_path / "b", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(predicted, model.predict(x, verbose=0), atol=1e-4)


def test_naming_a_layer_that_changes_its_kernel_says_why_it_stays_float(k):
    with pytest.raises(
        ModelError, match=r"centred \(DepthwiseConv2D\): its `call` makes other weights of its kernel"
    ):
        keras_trt.quantize_model(with_own_calls(k), only=["centred"], verbose=0)


def read_by_hand(k):
    """A layer around two whose kernels it multiplies by itself; of `both` it also calls the layer."""

    class Around(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.both, self.only = (k.layers.Dense(16, name=name) for name in ("both", "only"))

        def build(self, shape):
            for layer in (self.both, self.only):
                layer.build(shape)
            self.built = True

        def call(self, x):
            x = self.both(x)
            for layer in (self.both, self.only):
                x = k.ops.matmul(x, layer.kernel) if hasattr(k, "ops") else x @ layer.kernel
            return x

    x = k.Input((16,))
    y = Around(name="around")(k.layers.Dense(16, name="before")(x))
    return k.Model(x, k.layers.Dense(16, name="after")(y))


def test_layers_of_which_only_the_kernel_is_read_stay_float_and_are_named(k, tmp_path, capsys):
    model, x = read_by_hand(k), np.random.default_rng(0).random((16, 16), "float32")
    assert reasons(plan_quantization(model))["around/only"] == READ_REASON
    model = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None)
    assert f"Left in float: around/only. {READ_TOLD}." in capsys.readouterr().out
    assert quantized(model) == {"before", "around/both", "after"}
    told = reasons(keras_trt.report(model))
    assert told["around/only"] == READ_REASON
    assert told["around/both"].endswith(READ_TOO)
    assert READ_TOO not in told["after"]
    exported = keras_trt.export(model, tmp_path / "b", engine=None, verbose=0)
    assert exported.float_layers == ("around/both", "around/only")  # by whose weights they multiply
    assert exported.weights == {"int8": 3}
    predicted = keras_trt.load(tmp_path / "b", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(predicted, model.predict(x, verbose=0), rtol=1e-4, atol=1e-4)


def test_a_layer_whose_kernel_a_wrapper_replaces_stays_float(tmp_path, capsys):
    """Weight normalisation as tensorflow-addons writes it; the kernels of Keras 3 cannot be replaced."""
    import tensorflow as tf
    import tf_keras

    class Normalized(tf_keras.layers.Wrapper):
        def build(self, shape):
            self.layer.build(shape)
            self.v = self.layer.kernel
            self.g = self.add_weight(name="g", shape=(self.v.shape[-1],), initializer="ones")
            super().build(shape)

        def call(self, x):
            self.layer.kernel = tf.nn.l2_normalize(self.v, axis=0) * self.g
            return self.layer(x)

    i = tf_keras.Input((8,))
    y = Normalized(tf_keras.layers.Dense(8, activation="relu", name="inner"), name="outer")(i)
    model = tf_keras.Model(i, tf_keras.layers.Dense(3, name="head")(y))
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    own = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None)
    told = "Left in float: outer/inner. The `call` of a layer around each puts a tensor in the place of its"
    assert told in " ".join(capsys.readouterr().out.split())
    assert quantized(own) == {"head"}
    assert reasons(keras_trt.report(own))["outer/inner"] == REPLACED_REASON
    own.compile("sgd", "mse")
    own.fit(x, np.zeros((16, 3)), verbose=0)
    keras_trt.save_model(own, tmp_path / "q.keras")
    loaded = keras_trt.load_model(tmp_path / "q.keras", custom_objects={"Normalized": Normalized})
    expected = own.predict(x, verbose=0)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), expected, atol=1e-6)
    keras_trt.export(own, tmp_path / "b", engine=None, verbose=0)
    found = keras_trt.load(tmp_path / "b", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_separable_convolution_with_a_call_of_its_own_computes_by_that(k):
    class Doubled(k.layers.SeparableConv2D):
        def call(self, x):
            return 2 * super().call(x)

    i = k.Input((6, 6, 3))
    y = Doubled(4, 3, name="doubled")(i)
    model = k.Model(i, k.layers.Dense(4, name="head")(k.layers.Flatten()(y)))
    x = np.random.default_rng(0).random((16, 6, 6, 3), "float32")
    own = keras_trt.quantize_model(model, calibration_data=x, verbose=0)
    assert quantized(own) == {"head"}
    assert reasons(keras_trt.report(own))["doubled"] == OWN_SEPARABLE_REASON
    expected = model.predict(x, verbose=0)
    assert np.linalg.norm(own.predict(x, verbose=0) - expected) < 0.05 * np.linalg.norm(expected)
