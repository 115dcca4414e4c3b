"""Lambdas as activations, regularizers and the like come back from a file that may carry code."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from keras_trt import load_model, quantize_model, save_model
from keras_trt._keras.rebuilding import stored_lambdas
from keras_trt._keras.rebuilding.named_classes import entries
from keras_trt.errors import InputError, ModelError

pytestmark = pytest.mark.filterwarnings(
    "ignore:The object being serialized includes a .lambda:UserWarning",
    "ignore:The .keras.regularizers.serialize:UserWarning",
)
X = np.random.default_rng(0).normal(size=(32, 8, 3)).astype("float32")


def triple(x):
    return x * 3.0


def saved(k, path, *activations, **parameters):
    """A quantised net with convolutions of these activations."""
    layers = [k.layers.Conv1D(4, 3, activation=each, name=f"conv_{i}") for i, each in enumerate(activations)]
    layers += [k.layers.Flatten(), k.layers.Dense(2, name="last", **parameters)]
    model = quantize_model(
        k.Sequential([k.Input((8, 3)), *layers]), calibration_data=X, min_sqnr=None, verbose=0
    )
    save_model(model, path)
    return model


def test_they_are_read_where_the_file_may_carry_code(k, tmp_path):
    model = saved(
        k, tmp_path / "m.keras", lambda x: x * 3.0, lambda x: x - 1.0, kernel_regularizer=lambda w: 0.0
    )
    loaded = load_model(tmp_path / "m.keras", safe_mode=False)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert type(loaded.layers[0]) is type(model.layers[0])


def test_one_that_is_given_takes_the_place_of_the_code(k, tmp_path):
    model = saved(k, tmp_path / "m.keras", lambda x: x * 3.0)
    loaded = load_model(tmp_path / "m.keras", custom_objects={"<lambda>": triple})
    assert loaded.layers[0].activation is triple
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_the_layer_and_its_parameter_are_named_where_it_may_not(k, tmp_path):
    saved(k, tmp_path / "m.keras", "relu", lambda x: x * 3.0)
    with pytest.raises(ModelError, match=r"Layer 'conv_1' has a lambda as its `activation`.*safe_mode=False"):
        load_model(tmp_path / "m.keras")


def test_one_function_is_not_taken_for_two_lambdas(k, tmp_path):
    saved(k, tmp_path / "m.keras", lambda x: x * 3.0, lambda x: x * 2.0)
    with pytest.raises(ModelError, match=r"has another lambda as its `activation` than layer 'conv_."):
        load_model(tmp_path / "m.keras", custom_objects={"<lambda>": triple})


def test_keras_looks_names_up_as_before_afterwards(k, tmp_path):
    before = k.activations.get
    saved(k, tmp_path / "m.keras", lambda x: x * 3.0)
    load_model(tmp_path / "m.keras", safe_mode=False)
    assert (
        k.activations.get is before and k.layers.Dense(1, activation="relu").activation is k.activations.relu
    )


@pytest.mark.parametrize("hide", ["no name", "nested"])
def test_no_code_runs_in_safe_mode_wherever_a_file_hides_it(k, tmp_path, hide, monkeypatch):
    saved(k, tmp_path / "m.keras", lambda x: x * 3.0)
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(files["config.json"])
    (own,) = (e["config"] for e in entries(config) if "Conv1D" in str(e.get("class_name")))
    if hide == "no name":
        del own["name"]
    else:  # past what looks at the file beforehand
        monkeypatch.setattr(stored_lambdas, "entries", lambda config: iter(()))
    with zipfile.ZipFile(tmp_path / "hidden.keras", "w") as archive:
        for name, content in {**files, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, content)
    loads = []
    monkeypatch.setattr(k.saving, "deserialize_keras_object", lambda *_, **__: loads.append(1))
    with pytest.raises((InputError, ModelError), match="lambda"):
        load_model(tmp_path / "hidden.keras")
    assert not loads


def test_a_parameter_of_one_value_is_no_lambda(k):
    config = {
        "class_name": "Mine",
        "config": {"name": "mine", "options": {"value": 3}, "more": {"value": [1]}},
    }
    stored_lambdas.check_lambdas(config, {}, safe_mode=True)
