"""The engine inside Keras: as a layer, and measured by Keras's own losses and metrics."""

import shutil

import numpy as np
import pytest

from keras_trt.errors import InputError, KerasTRTError
from keras_trt.models.load_model import load_model
from keras_trt.runtime import EngineModel, load
from tests.small_onnx import conv_model, save_bundle, sequence_model, two_in_two_out

NAMES = {"keras": "keras3", "tf_keras": "legacy"}


@pytest.fixture
def flavor(k):
    return NAMES[k.__name__]


@pytest.fixture
def sequence(tmp_path, flavor):
    return load(save_bundle(tmp_path / "b", sequence_model(), keras=flavor), verbose=0)


def test_a_layer_runs_eagerly_and_inside_a_model(sequence, k, rng):
    x = rng.normal(size=(5, 6, 4)).astype(np.float32)
    wanted = sequence.predict(x, verbose=0)
    layer = sequence.as_layer(name="backbone")
    np.testing.assert_allclose(np.asarray(layer(x)), wanted, atol=1e-6)
    inputs = k.Input((6, 4))
    head = k.layers.Dense(3, name="head")
    model = k.Model(inputs, head(k.layers.Flatten()(layer(inputs))))
    assert layer.name == "backbone"
    assert layer.weights == []
    np.testing.assert_allclose(model.predict(x, verbose=0), head(wanted.reshape(5, -1)), atol=1e-5)


def test_a_head_on_the_engine_trains(sequence, k, rng):
    inputs = k.Input((6, 4))
    model = k.Sequential([inputs, sequence.as_layer(), k.layers.Flatten(), k.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = rng.normal(size=(20, 6, 4)), rng.normal(size=(20, 1))
    before = model.layers[-1].get_weights()[0].copy()
    model.fit(x, y, epochs=1, verbose=0)
    assert not np.allclose(before, model.layers[-1].get_weights()[0])


def test_a_layer_takes_and_gives_structures(tmp_path, k, flavor, rng):
    path = save_bundle(
        tmp_path / "b",
        two_in_two_out(),
        keras=flavor,
        input_structure={"a": "a", "b": "b"},
        output_structure={"sum": "total", "prod": "product"},
    )
    layer = load(path, verbose=0).as_layer()
    a, b = k.Input((3,), name="a"), k.Input((3,), dtype="int32", name="b")
    model = k.Model({"a": a, "b": b}, layer({"a": a, "b": b}))
    x = {"a": rng.normal(size=(4, 3)), "b": rng.integers(0, 5, (4, 3))}
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found["sum"], x["a"] + x["b"], rtol=1e-6)
    np.testing.assert_allclose(found["prod"], x["a"] * x["b"], rtol=1e-6)


def test_a_layer_may_be_for_the_other_keras(tmp_path, k, flavor):
    other = {"keras3": "legacy", "legacy": "keras3"}[flavor]
    model = load(save_bundle(tmp_path / "b", sequence_model(), keras=other), verbose=0)
    assert isinstance(model.as_layer(keras=flavor), k.layers.Layer)
    with pytest.raises(InputError, match=r"`keras` must be one of \['keras3', 'legacy'\]. Received: 'torch'"):
        model.as_layer(keras="torch")


def test_a_layer_is_saved_as_its_bundles_path_and_hash(sequence, k, tmp_path, rng):
    model = k.Sequential([k.Input((6, 4)), sequence.as_layer(name="backbone"), k.layers.Dense(3)])
    x = rng.normal(size=(5, 6, 4)).astype(np.float32)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert loaded.get_layer("backbone").engine.bundle.path == sequence.bundle.path


def test_a_layer_whose_bundle_was_replaced_does_not_load(sequence, k, tmp_path, flavor):
    model = k.Sequential([k.Input((6, 4)), sequence.as_layer(name="backbone")])
    model.save(tmp_path / "model.keras")
    shutil.rmtree(tmp_path / "b")
    save_bundle(tmp_path / "b", sequence_model(seed=1), keras=flavor)
    with pytest.raises(KerasTRTError, match="is not the one that was loaded before"):
        load_model(tmp_path / "model.keras")


def test_a_layer_of_a_runner_of_ones_own_is_not_saved(sequence, k):
    layer = EngineModel(sequence.bundle, sequence.runner).as_layer(name="backbone")
    with pytest.raises(InputError, match=r"Layer 'backbone' runs an engine that was made of a runner"):
        layer.get_config()


def test_evaluate_gives_what_keras_gives(sequence, k, rng):
    x, y = rng.normal(size=(70, 6, 4)), rng.normal(size=(70, 6, 2))
    dense = k.layers.Dense(2, use_bias=False)
    keras_model = k.Sequential([k.Input((6, 4)), dense])
    dense.set_weights([np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)])
    for model in (sequence, keras_model):
        model.compile(loss="mse", metrics=["mae"])
    options = {"verbose": 0, "batch_size": 16}
    np.testing.assert_allclose(
        sequence.evaluate(x, y, **options), keras_model.evaluate(x, y, **options), rtol=1e-5
    )
    named = sequence.evaluate(x, y, return_dict=True, **options)
    wanted = keras_model.evaluate(x, y, return_dict=True, **options)
    assert list(named) == list(wanted)
    weights = np.arange(70.0)[:, None].repeat(6, axis=1)
    np.testing.assert_allclose(
        sequence.evaluate(x, y, sample_weight=weights, **options)[0],
        keras_model.evaluate(x, y, sample_weight=weights, **options)[0],
        rtol=1e-5,
    )


def test_evaluate_measures_each_output(tmp_path, k, flavor, rng):
    path = save_bundle(
        tmp_path / "b",
        two_in_two_out(),
        keras=flavor,
        input_structure={"first": "a", "second": "b"},
        output_structure={"sum": "total", "prod": "product"},
    )
    model = load(path, verbose=0)
    model.compile(loss={"sum": "mse", "prod": "mae"})
    x = {"first": rng.normal(size=(6, 3)), "second": rng.integers(0, 5, (6, 3))}
    y = {"sum": np.zeros((6, 3)), "prod": np.zeros((6, 3))}
    total = x["first"] + x["second"]
    product = x["first"] * x["second"]
    found = model.evaluate(x, y, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(np.square(total).mean() + np.abs(product).mean(), rel=1e-5)
    assert found["sum_loss"] == pytest.approx(np.square(total).mean(), rel=1e-5)


def test_evaluate_takes_a_tf_dataset_and_accuracy_by_name(tmp_path, flavor, rng):
    import tensorflow as tf

    model = load(save_bundle(tmp_path / "b", conv_model(), keras=flavor), verbose=0)
    x, y = rng.normal(size=(10, 4, 8, 8)).astype(np.float32), rng.integers(0, 8, (10, 8, 8))
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    found = model.evaluate(data, verbose=0, return_dict=True)
    accuracy = (model.predict(x, verbose=0).argmax(-1) == y).mean()
    assert found["accuracy"] == pytest.approx(accuracy)


def test_compile_takes_arguments_in_the_order_of_the_models_keras(sequence, k, rng):
    x, y = rng.normal(size=(8, 6, 4)), rng.normal(size=(8, 6, 2))
    third = 3.0 if k.__name__ == "keras" else ["mae"]  # `loss_weights` there, `metrics` here
    fourth = ["mae"] if k.__name__ == "keras" else 3.0
    sequence.compile("adam", "mse", third, fourth, run_eagerly=False)
    loss, mae = sequence.evaluate(x, y, verbose=0)
    difference = sequence.predict(x, verbose=0) - y
    assert loss == pytest.approx(3 * np.square(difference).mean(), rel=1e-4)
    assert mae == pytest.approx(np.abs(difference).mean(), rel=1e-4)


def test_compile_refuses_what_keras_does_not_take(sequence):
    with pytest.raises(InputError, match="`compile` takes the arguments of .*keras: .*metric"):
        sequence.compile(loss="mse", metric=["mae"])


def test_evaluate_wants_compile_first(sequence):
    with pytest.raises(InputError, match=r"Call first: model\.compile"):
        sequence.evaluate(np.zeros((1, 6, 4)), np.zeros((1, 6, 2)))
