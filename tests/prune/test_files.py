"""Files of pruned models."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import keras_trt
from keras_trt.callbacks import Prune

X, Y = np.random.default_rng(0).normal(size=(64, 8)).astype("float32"), np.arange(64) % 4


def net(k):
    k.utils.set_random_seed(0)
    model = k.Sequential([k.Input((8,)), k.layers.Dense(16, name="a"), k.layers.Dense(4, name="b")])
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=False)
    return model


def zeros(model):
    return np.asarray(model.get_layer("a").kernel) == 0


@pytest.mark.parametrize("quantised", [True, False])
def test_h5_files_load_and_train_on_with_their_zeros(k, tmp_path, quantised):
    model = keras_trt.prune_model(net(k), 0.5)
    if quantised:
        model = keras_trt.quantize_model(model, calibration_data=X, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras calls the format legacy
        model.save(tmp_path / "m.h5")
        loaded = k.models.load_model(tmp_path / "m.h5", compile=False)
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    loaded.compile("adam", k.losses.SparseCategoricalCrossentropy(from_logits=True))
    loaded.fit(X, Y, verbose=0)
    np.testing.assert_array_equal(zeros(loaded), zeros(model))


@pytest.mark.parametrize("first", ["lora", "prune"])
def test_lora_beside_masks_saves_and_loads(tmp_path, first):
    import keras

    model = net(keras)
    if first == "lora":
        model.get_layer("a").enable_lora(2)
    pruned = keras_trt.prune_model(model, 0.5)
    if first == "prune":
        pruned.get_layer("a").enable_lora(2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.compile("adam", loss, jit_compile=False)
    pruned.fit(X, Y, verbose=0)
    assert np.mean(np.asarray(pruned.get_layer("a")._kernel) == 0) == 0.5
    keras_trt.save_model(pruned, tmp_path / "m.keras")
    loaded = keras_trt.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(
        loaded.predict(X, verbose=0), pruned.predict(X, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_a_constraint_of_the_users_is_still_in_lora_s_way():
    import keras

    layer = keras.layers.Dense(4, kernel_constraint=keras.constraints.NonNeg(), name="a")
    pruned = keras_trt.prune_model(keras.Sequential([keras.Input((8,)), layer]), 0.5)
    with pytest.raises(ValueError, match="incompatible with kernel constraints"):
        pruned.get_layer("a").enable_lora(2)


@pytest.mark.parametrize("keep", ["save_model", "ModelCheckpoint"])
def test_a_search_by_a_metric_comes_back_with_its_accepted_weights(k, tmp_path, keep):
    model, path = net(k), str(tmp_path / "m.keras")

    class Metric(k.callbacks.Callback):
        """Good up to the third epoch."""

        def on_epoch_end(self, epoch, logs=None):
            logs["metric"] = float(epoch < 2)

    def train(model, *extra, **options):
        prune = Prune(monitor="metric")
        model.fit(X, Y, shuffle=False, verbose=0, callbacks=[Metric(), prune, *extra], **options)
        return prune.search

    whole = net(k)
    searched = train(whole, epochs=5)
    if keep == "save_model":
        train(model, epochs=2)
        keras_trt.save_model(model, path)
    else:
        train(model, k.callbacks.ModelCheckpoint(path), epochs=2)
    loaded = keras_trt.load_model(path)
    resumed = train(loaded, initial_epoch=2, epochs=5)
    assert resumed.state() == searched.state()
    assert resumed.accepted == pytest.approx(0.2)
    for ours, theirs in zip(loaded.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    plain = keras_trt.strip(loaded)
    assert not hasattr(plain.get_layer("a"), "pruning_search")


def test_a_search_comes_back_from_a_checkpoint_of_tensorflow(k, tmp_path):
    import tensorflow as tf

    model = net(k)
    prune = Prune(monitor="loss", max_drop=100.0)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[prune])
    written = tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    other, again = net(k), Prune(monitor="loss", max_drop=100.0)
    again.set_model(other)
    tf.train.Checkpoint(model=other).read(written).expect_partial()
    other.fit(X, Y, initial_epoch=3, epochs=4, verbose=0, callbacks=[again])
    assert again.search.accepted == pytest.approx(0.6)
    assert again.search.baseline == prune.search.baseline
