"""`callbacks.Quantize` beside what stores and restores weights: nothing is lost, whatever the order."""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
import pytest

import keras_trt
from keras_trt.callbacks import Quantize
from keras_trt.quantize.inventory import inventory
from tests.nets import dense_net, metric_best_in, ranges

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 4, 64)


def net(k):
    model = dense_net(k, 8, 16, 4)
    model.compile(
        "adam", "sparse_categorical_crossentropy", jit_compile=False
    )  # XLA would take most of the time
    return model


def fit(model, *callbacks, epochs=4, **options):
    return model.fit(
        X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks], **options
    )


def quantised(model):
    return {t.layer for t in inventory(model)}


def test_epochs_before_the_start_are_those_of_the_float_model_bit_for_bit(k):
    plain, model, seen = net(k), net(k), []
    fit(plain, epochs=2)

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append([self.model.get_layer(name).kernel.numpy() for name in "ab"])

    fit(model, Quantize(start_epoch=2), Watch(), epochs=3)
    for name, value in zip("ab", seen[1], strict=True):
        np.testing.assert_array_equal(value, plain.get_layer(name).kernel)
    assert min(ranges(model)) > 0


def test_the_training_step_of_float_epochs_holds_no_quantiser(k):
    model = net(k)
    model.run_eagerly = False
    Quantize(start_epoch=1).set_model(model)
    import tensorflow as tf

    @tf.function
    def step(x):
        return model(x, training=True)

    ops = {op.type for op in step.get_concrete_function(tf.constant(X)).graph.get_operations()}
    assert not ops & {"If", "StatelessIf", "QuantizeAndDequantizeV2", "Round"}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("best", [1, 3])
def test_early_stopping_restores_the_best_epoch_float_or_quantised(k, tmp_path, first, best):
    model = net(k)
    stop = k.callbacks.EarlyStopping(monitor="metric", mode="max", patience=9, restore_best_weights=True)
    keep = k.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), monitor="metric", mode="max", save_best_only=True
    )
    ours = Quantize(start_epoch=2, freeze_ranges_epoch=3)
    order = [ours, stop, keep] if first else [stop, keep, ours]
    fit(model, metric_best_in(k, best), *order)
    kept = keras_trt.load_model(tmp_path / "best.keras")
    np.testing.assert_array_equal(kept.predict(X, verbose=0), model.predict(X, verbose=0))
    assert quantised(model) == quantised(kept) == ({"a", "b"} if best == 3 else set())
    assert ranges(model) == ranges(kept)
    if best == 1:  # what it computes is what a float model with these weights computes
        plain = net(k)
        for name in ("a", "bn", "b"):
            own = len(plain.get_layer(name).get_weights())
            plain.get_layer(name).set_weights(model.get_layer(name).get_weights()[:own])
        np.testing.assert_allclose(model.predict(X, verbose=0), plain.predict(X, verbose=0), rtol=1e-6)
        row = next(row for row in keras_trt.report(model).rows if row["layer"] == "a")
        assert "switched off: trained in float" in row["reason"]
        found = keras_trt.export(model, tmp_path / "bundle", engine=None, verbose=0)
        assert found.precision == "float32"
        assert any("layers, a first, are switched off" in note for note in found.notes)
    fit(model, Quantize(), epochs=1)  # and goes on from there
    assert quantised(model) == {"a", "b"}
    assert min(ranges(model)) > 0


def test_quantize_model_switches_on_what_was_restored_from_a_float_epoch(k):
    model = net(k)
    with pytest.warns(UserWarning, match="before `start_epoch=9`: the model stays float"):
        fit(model, Quantize(start_epoch=9), epochs=1)
    assert not quantised(model)
    assert quantised(keras_trt.quantize_model(model, calibration_data=X, verbose=0)) == {"a", "b"}


class Killed(Exception):
    pass


def killing(k, at):
    class Kill(k.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == at:
                raise Killed

    return Kill()


@pytest.mark.parametrize(("first", "at"), [(True, 1), (False, 2), (True, 3)])
def test_a_resumed_run_is_the_uninterrupted_one(k, tmp_path, first, at):
    def train(*extra):
        model = net(k)
        backup = k.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        ours = Quantize(start_epoch=1, freeze_ranges_epoch=2, freeze_batchnorm_epoch=3)
        fit(model, *([ours, backup] if first else [backup, ours]), *extra, epochs=5)
        return model

    whole = train()
    with pytest.raises(Killed):
        train(killing(k, at))
    resumed = train()
    assert ranges(resumed) == ranges(whole)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("way", [".keras", ".weights.h5", "checkpoint"])
def test_files_and_checkpoints_carry_ranges_and_switches(k, tmp_path, way):
    import tensorflow as tf

    for start in (0, 2):
        model = net(k)
        if start == 0:
            fit(model, Quantize(freeze_ranges_epoch=1), epochs=2)
        else:
            with pytest.warns(UserWarning, match="stays float"):
                fit(model, Quantize(start_epoch=2), epochs=1)
        path = str(tmp_path / f"m{start}{way}")
        if way == ".keras":
            keras_trt.save_model(model, path)
            other = keras_trt.load_model(path)
        else:
            other = net(k)
            other.optimizer.build(other.trainable_variables)
            Quantize(start_epoch=0 if start else 2).set_model(other)
            if way == "checkpoint":
                written = tf.train.Checkpoint(model=model).write(path)
                tf.train.Checkpoint(model=other).read(written).assert_existing_objects_matched()
            else:
                model.save_weights(path)
                other.load_weights(path)
        np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))
        assert quantised(other) == quantised(model) == (set() if start else {"a", "b"})
        assert ranges(other) == ranges(model)


def test_a_checkpoint_of_a_copy_holds_the_copys_weights(k, tmp_path):
    import tensorflow as tf

    model = keras_trt.quantize_model(net(k), calibration_data=X, verbose=0)
    for layer in model.layers:
        layer.set_weights([value + 1 for value in layer.get_weights()])
    written = tf.train.Checkpoint(model=model).write(str(tmp_path / "c"))
    other = keras_trt.quantize_model(net(k), verbose=0)
    tf.train.Checkpoint(model=other).read(written).assert_existing_objects_matched()
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def without_switches(content):
    h5py = pytest.importorskip("h5py")
    held, removed = BytesIO(content), []
    with h5py.File(held, "a") as file:
        file.visit(lambda path: removed.append(path) if path.endswith("_switch") else None)
        for path in removed:
            del file[path]
    assert len(removed) == 2
    return held.getvalue()


def test_files_without_switches_load_quantised(k, tmp_path):
    model = net(k)
    fit(model, Quantize(), epochs=1)
    keras_trt.save_model(model, tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "model.weights.h5":
                content = without_switches(content)
            old.writestr(name, content)
    loaded = keras_trt.load_model(tmp_path / "old.keras")
    assert quantised(loaded) == {"a", "b"}
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_batch_normalisation_thaws_with_the_next_training_after_ctrl_c(k):
    model = net(k)

    class CtrlC(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    for again in (lambda: fit(model, epochs=1), lambda: model.train_on_batch(X, Y)):
        with pytest.raises(KeyboardInterrupt):
            fit(model, Quantize(freeze_batchnorm_epoch=1), CtrlC())
        before = model.get_layer("bn").moving_mean.numpy()
        again()
        assert not np.array_equal(before, model.get_layer("bn").moving_mean.numpy())


def test_ranges_of_frozen_layers_are_set_once_and_stand_still(k):
    inner = k.Sequential([k.Input((8,)), k.layers.Dense(8, activation="relu", name="deep")], name="backbone")
    inputs = k.Input((8,))
    model = k.Model(inputs, k.layers.Dense(4, activation="softmax", name="head")(inner(inputs)))
    inner.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    callback, seen = Quantize(), []

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append({t.layer: t.amax for t in inventory(self.model) if t.kind == "activation"})

    model.fit(X, Y, epochs=1, verbose=0, batch_size=64, callbacks=[callback, Watch()])
    model.fit(3 * X, Y, epochs=1, verbose=0, batch_size=64, callbacks=[callback, Watch()])
    assert seen[0]["backbone/deep"] == seen[1]["backbone/deep"] == np.abs(X).max()
    assert seen[0]["head"] != seen[1]["head"]


def test_calibration_data_sets_the_ranges_before_the_first_quantised_step(k, capsys):
    model, seen = net(k), []

    class Watch(k.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(ranges(self.model))

    fit(
        model,
        Quantize(start_epoch=1, calibration_data=5 * X, verbose=1, ranges={"b": 3.0}),
        Watch(),
        epochs=2,
    )
    assert seen[0] == []
    assert seen[1] == [pytest.approx(5 * np.abs(X).max()), 3.0]
    assert "Quantize: epoch 2: 2 layers train quantised" in capsys.readouterr().out


def test_it_says_when_training_was_stopped_before_the_start(k):
    model = net(k)
    stop = k.callbacks.EarlyStopping(monitor="metric", mode="max", patience=1)
    with pytest.warns(UserWarning, match=r"stopped in epoch 1 \(counted from 0\), before `start_epoch=3`"):
        fit(model, metric_best_in(k, 0), stop, Quantize(start_epoch=3))
