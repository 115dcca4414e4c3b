"""`copy=False`: the model itself is quantised or pruned, and after an error it is as it was."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError
from keras_trt.twins.twins import is_twin

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 32)


def net(k):
    inputs = k.Input((4,))
    hidden = k.layers.Dense(8, activation="relu", name="hidden")(inputs)
    return k.Model(inputs, k.layers.Dense(3, name="head")(hidden))


def test_a_compiled_model_is_quantised_in_place_and_trains_on_with_its_optimizer(k):
    model = net(k)
    model.compile("adam", "mse")
    model.fit(X, np.zeros((32, 3)), verbose=0)
    optimizer = model.optimizer
    model.predict(X, verbose=0)
    assert keras_trt.quantize_model(model, calibration_data=X, copy=False, verbose=0) is model
    assert is_twin(model.get_layer("hidden"))
    assert model.optimizer is optimizer
    np.testing.assert_allclose(
        model.predict(X, verbose=0), model(X), rtol=1e-4, atol=1e-5
    )  # not the old step
    model.fit(X, np.zeros((32, 3)), verbose=0)


@pytest.mark.parametrize(
    "wrong", [{"ranges": {"nobody": 1.0}}, {"calibration_data": np.full((4, 4), np.nan)}]
)
def test_an_error_leaves_the_model_as_it_was(k, wrong):
    model = net(k)
    before, names = model.predict(X, verbose=0), [v.name for v in model.weights]
    with pytest.raises(InputError):
        keras_trt.quantize_model(model, copy=False, verbose=0, **wrong)
    assert not any(map(is_twin, model.layers))
    assert [v.name for v in model.weights] == names
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_a_compiled_model_is_pruned_in_place_and_keeps_its_zeros(k):
    model = net(k)
    model.compile("adam", "mse")
    model.fit(X, np.zeros((32, 3)), verbose=0)
    assert keras_trt.prune_model(model, 0.5, copy=False) is model
    zeros = np.asarray(model.get_layer("hidden").kernel) == 0
    assert zeros.mean() == 0.5
    model.fit(X, np.zeros((32, 3)), verbose=0)
    assert not np.asarray(model.get_layer("hidden").kernel)[zeros].any()


def test_what_needs_new_layers_or_weights_is_refused_in_place(k):
    model = net(k)
    with pytest.raises(InputError, match="new, smaller layers.*copy=False"):
        keras_trt.prune_model(model, 0.5, pattern="channel", copy=False)
    model.compile("adam", "mse")
    learned = keras_trt.schemes.Scheme(learned_ranges=True)
    with pytest.raises(InputError, match="Learned ranges.*copy=False"):
        keras_trt.quantize_model(model, learned, copy=False)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_functional_subclass_with_a_config_of_its_own_comes_back_quantised(k, tmp_path, copy, nested):
    @k.saving.register_keras_serializable(f"own_config_{k.__name__}")
    class Backbone(k.Model):
        def __init__(self, units, **options):
            inputs = k.Input((4,))
            hidden = k.layers.Dense(units, activation="relu", name="hidden")(inputs)
            super().__init__(inputs=inputs, outputs=k.layers.Dense(3, name="last")(hidden), **options)
            self.units = units

        def get_config(self):
            return {"units": self.units, "name": self.name}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    model = Backbone(8)
    if nested:
        inputs = k.Input((4,))
        model = k.Model(inputs, k.layers.Dense(2, name="head")(model(inputs)))
    quantized = keras_trt.quantize_model(model, calibration_data=X, copy=copy, verbose=0)
    keras_trt.save_model(quantized, tmp_path / "m.keras")
    loaded = keras_trt.load_model(tmp_path / "m.keras", compile=False)
    counts = [sum(bool(row["quantised"]) for row in keras_trt.report(m).rows) for m in (quantized, loaded)]
    assert counts == ([3, 3] if nested else [2, 2])
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), quantized.predict(X, verbose=0))


@pytest.mark.parametrize("inputs", ["one", "list"])
@pytest.mark.parametrize("outputs", ["list", "tuple", "list of list", "dict in list"])
def test_lists_of_one_input_or_output_of_keras_3_export(tmp_path, inputs, outputs):
    import keras

    x = keras.Input((4,), name="x")
    y = keras.layers.Dense(3, name="y")(x)
    made = {"list": [y], "tuple": (y,), "list of list": [[y]], "dict in list": [{"a": y}]}[outputs]
    model = keras.Model([x] if inputs == "list" else x, made)
    keras_trt.export(model, tmp_path / "bundle", engine=None, verbose=0)
    found = keras_trt.load(tmp_path / "bundle", verbose=0).predict(X)
    wanted = model.predict(X, verbose=0)
    assert keras.tree.map_structure(np.shape, found) == keras.tree.map_structure(np.shape, wanted)
    for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
