"""Classes of one bare name stay apart: in memory, in files, and in files of earlier versions."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from keras_trt.models.load_model import load_model
from keras_trt.models.save_model import save_model
from keras_trt.quantize.quantize_model import quantize_model

X = np.random.default_rng(0).normal(size=(32, 6)).astype(np.float32)


def block(k, package, factor):
    @k.saving.register_keras_serializable(f"{package}_{k.__name__}")
    class Block(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = k.layers.Dense(6, name="inner")

        def build(self, input_shape):
            self.inner.build(input_shape)
            self.built = True

        def call(self, x):
            return self.inner(x) * factor

    return Block


def two_blocks(k, package="two"):
    a, b = block(k, f"{package}_a", 1.0), block(k, f"{package}_b", -5.0)
    x = k.Input((6,))
    model = k.Model(x, k.layers.Dense(2, name="d")(b(name="b")(a(name="a")(x))))
    return quantize_model(model, calibration_data=X, verbose=0)


def dense_of_mine(k):
    class Dense(k.layers.Dense):
        def call(self, x):
            return super().call(x) * 100.0

    return Dense


def model_of(k, cls):
    return k.Sequential([k.Input((6,)), cls(3, name="d")])


def renamed(path, name):
    """A file with another registered name for each quantised layer."""

    def walk(value):
        if isinstance(value, dict):
            if "quantization" in (value.get("config") or {}):
                value["registered_name"] = name(value)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    config = json.loads(parts["config.json"])
    walk(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as new:
        for part, data in parts.items():
            new.writestr(part, data)


def test_two_registered_classes_of_one_name_come_back_each_as_itself(k, tmp_path):
    model = two_blocks(k)
    save_model(model, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_files_of_earlier_versions_tell_classes_of_one_name_by_what_they_are_twins_of(k, tmp_path):
    model = two_blocks(k, "old")
    save_model(model, tmp_path / "m.keras")
    renamed(
        tmp_path / "m.keras",
        lambda layer: f"keras_trt>Quantized{layer['config']['quantization']['base'][1].split('.')[-1]}",
    )
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_a_class_called_like_keras_s_own_leaves_other_models_alone(k, tmp_path):
    plain = quantize_model(model_of(k, k.layers.Dense), calibration_data=X, verbose=0)
    save_model(plain, tmp_path / "m.keras")
    expected = plain.predict(X, verbose=0)
    quantize_model(model_of(k, dense_of_mine(k)), calibration_data=X, verbose=0)
    assert np.array_equal(load_model(tmp_path / "m.keras").predict(X, verbose=0), expected)
    assert np.array_equal(
        k.models.load_model(tmp_path / "m.keras", compile=False).predict(X, verbose=0), expected
    )


def test_keras_s_own_classes_keep_their_registered_names(k, tmp_path):
    save_model(quantize_model(model_of(k, k.layers.Dense)), tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert '"registered_name": "keras_trt>QuantizedDense"' in archive.read("config.json").decode()


@pytest.mark.parametrize("key", ["Block", "registered"])
def test_custom_objects_decide_before_what_is_registered(k, tmp_path, key):
    old = block(k, f"redefined_{key}", 1.0)
    x = k.Input((6,))
    model = quantize_model(k.Model(x, old(name="a")(x)), calibration_data=X, verbose=0)
    save_model(model, tmp_path / "m.keras")
    name = k.saving.get_registered_name(old)
    new = block(k, f"elsewhere_{key}", 10.0)
    given = {name if key == "registered" else key: new}
    loaded = load_model(tmp_path / "m.keras", custom_objects=given)
    np.testing.assert_allclose(
        loaded.predict(X, verbose=0), 10 * model.predict(X, verbose=0), rtol=1e-5, atol=1e-5
    )


def test_a_class_that_is_not_registered_comes_back_from_custom_objects(k, tmp_path):
    mine = dense_of_mine(k)
    model = quantize_model(model_of(k, mine), calibration_data=X, verbose=0)
    save_model(model, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras", custom_objects={"Dense": mine})
    assert np.array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    assert np.abs(loaded.predict(X, verbose=0)).max() > 50


def test_a_custom_object_called_like_keras_s_own_is_not_taken_for_it(k, tmp_path):
    mine, x = dense_of_mine(k), k.Input((6,))
    model = k.Model(x, k.layers.Dense(2, name="own")(mine(4, name="mine")(x)))
    model = quantize_model(model, calibration_data=X, verbose=0)
    save_model(model, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras", custom_objects={"Dense": mine})
    assert np.array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_loading_leaves_what_is_registered_with_keras_as_it_was(k, tmp_path):
    model = two_blocks(k, "kept")
    save_model(model, tmp_path / "m.keras")
    other, name = block(k, "kept_c", 2.0), f"kept_a_{k.__name__}>Block"
    registered = k.saving.get_registered_object(name)
    load_model(tmp_path / "m.keras", custom_objects={name: other})
    assert k.saving.get_registered_object(name) is registered
