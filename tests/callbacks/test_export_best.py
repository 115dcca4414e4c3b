"""`ExportBest` keeps the bundle of the best epoch, as Keras's ModelCheckpoint keeps the model."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.callbacks import ExportBest, Quantize
from keras_trt.errors import InputError
from tests.nets import dense_net, metric_best_in

EPOCHS = 4


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 8)).astype("float32")
    return x, np.argmax(x @ rng.normal(size=(8, 4)), axis=1)


def net(k):
    model = dense_net(k, 8, 12, 4)
    model.add(k.layers.Dropout(0.1, name="dropout"))  # a state that a trace could move
    model.compile(k.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def fit(model, callbacks, **options):
    options = {"epochs": EPOCHS, "batch_size": 16, "verbose": 0} | options
    return model.fit(*data(), callbacks=callbacks, **options).history


def best(path, **options):
    options = {"monitor": "metric", "mode": "max", "engine": None} | options
    return ExportBest(path, **options)


def test_the_bundle_is_the_model_of_the_best_epoch_and_the_checkpoint(k, tmp_path):
    model = net(k)
    keep = k.callbacks.ModelCheckpoint(
        str(tmp_path / "best.keras"), "metric", mode="max", save_best_only=True
    )
    history = fit(model, [metric_best_in(k, 1), keep, best(tmp_path / "best.bundle")])
    engine = keras_trt.load(tmp_path / "best.bundle", verbose=0)
    x, _ = data()
    kept = keras_trt.load_model(tmp_path / "best.keras")
    np.testing.assert_allclose(engine.predict(x, verbose=0), kept.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
    assert engine.metadata["export_best"] == {"monitor": "metric", "value": 0.0, "epoch": 2}
    assert history["export_failed"] == [0.0] * EPOCHS


def test_a_training_with_it_gives_the_numbers_of_one_without(k, tmp_path):
    found = []
    for ours in ([], [best(tmp_path / "b", verify=True)]):
        model = net(k)
        history = fit(model, [metric_best_in(k, EPOCHS), *ours], validation_data=data())
        history.pop("export_failed", None)
        state = [np.asarray(v) for v in (*model.weights, *_variables(model.optimizer))]
        found.append((history, state))
    assert found[0][0] == found[1][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


def _variables(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


@pytest.mark.parametrize("threshold", [None, -0.5])
def test_a_path_with_the_epoch_and_the_metric_keeps_each_improvement(k, tmp_path, threshold):
    theirs = k.callbacks.ModelCheckpoint(
        str(tmp_path / "{epoch:02d}_{metric:.1f}.keras"),
        "metric",
        mode="max",
        save_best_only=True,
        initial_value_threshold=threshold,
    )
    ours = best(tmp_path / "{epoch:02d}_{metric:.1f}.bundle", initial_value_threshold=threshold)
    fit(net(k), [metric_best_in(k, 2), theirs, ours])
    names = {suffix: sorted(p.stem for p in tmp_path.glob(f"*{suffix}")) for suffix in (".keras", ".bundle")}
    assert names[".keras"] == names[".bundle"]
    assert len(names[".bundle"]) == (3 if threshold is None else 1)


def test_after_so_many_batches(k, tmp_path):
    ours = ExportBest(tmp_path / "{epoch}-{batch}", "loss", save_freq=3, engine=None)
    fit(net(k), [ours], epochs=3)
    assert {p.name for p in tmp_path.iterdir()} <= {"1-3", "2-2", "3-1", "3-4"}  # every third of 4 + 4 + 4
    assert (tmp_path / "1-3").is_dir()


class Killed(Exception):
    pass


def test_the_best_value_comes_back_when_a_training_is_resumed(k, tmp_path):
    path = tmp_path / "best.bundle"

    def train(kill):
        model = net(k)
        backup = k.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        ours = best(path)

        def begin(epoch, logs=None):
            if kill and epoch == 3:
                raise Killed

        watch = k.callbacks.LambdaCallback(on_epoch_begin=begin)
        fit(model, [metric_best_in(k, 1), backup, ours, watch], epochs=5)
        return ours

    with pytest.raises(Killed):
        train(kill=True)
    digest = keras_trt.load(path, verbose=0).bundle.manifest.onnx_sha256
    ours = train(kill=False)  # epochs 3 and 4, of which none is as good
    assert ours.best == 0.0
    assert keras_trt.load(path, verbose=0).bundle.manifest.onnx_sha256 == digest


def test_a_training_from_the_beginning_replaces_the_bundle_of_another(k, tmp_path):
    path = tmp_path / "best.bundle"
    fit(net(k), [metric_best_in(k, 0), best(path)], epochs=1)
    fit(net(k), [metric_best_in(k, 3), best(path)], epochs=1)
    assert keras_trt.load(path, verbose=0).metadata["export_best"]["value"] == -3.0


def test_a_failed_export_is_a_warning_and_a_mark_and_the_next_epoch_tries_again(k, tmp_path):
    path = tmp_path / "best.bundle"
    path.write_text("no bundle")
    clear = k.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs=None: epoch != 2 or path.unlink())
    with pytest.warns(UserWarning, match="ExportBest`, epoch [12]: .* BundleExistsError: "):
        history = fit(net(k), [clear, metric_best_in(k, 0), best(path)])
    assert history["export_failed"] == [1.0, 1.0, 0.0, 0.0]
    assert keras_trt.load(path, verbose=0).metadata["export_best"]["epoch"] == 3


def test_a_path_below_a_file_is_told(k, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.warns(UserWarning, match="file' is a file, no folder"):
        fit(net(k), [metric_best_in(k, 0), best(tmp_path / "file" / "best.bundle")], epochs=1)


def test_the_failure_of_one_of_two_is_marked(k, tmp_path):
    (tmp_path / "a").write_text("no bundle")
    ours = [best(tmp_path / "a"), best(tmp_path / "b")]
    with pytest.warns(UserWarning, match="BundleExistsError: "):
        history = fit(net(k), [metric_best_in(k, 0), *ours], epochs=2)
    assert history["export_failed"] == [1.0, 1.0]
    assert keras_trt.load(tmp_path / "b", verbose=0).metadata["export_best"]["epoch"] == 1


def test_a_missing_metric_is_a_warning(k, tmp_path):
    with pytest.warns(UserWarning, match="`monitor='val_loss'` does not decide .* Available: .*loss"):
        fit(net(k), [ExportBest(tmp_path / "b", engine=None)], epochs=1)
    assert not (tmp_path / "b").exists()


def test_what_is_quantised_in_training_leaves_in_int8(k, tmp_path):
    quantize = Quantize(calibration_data=data()[0])
    ours = ExportBest(tmp_path / "b", "loss", engine=None, labels=list("abcd"), metadata={"run": 7})
    fit(net(k), [quantize, ours], epochs=2)
    engine = keras_trt.load(tmp_path / "b", verbose=0)
    assert engine.bundle.manifest.precision == "int8"
    assert (engine.labels, engine.metadata["run"]) == (list("abcd"), 7)
    assert set(engine.metadata) == {"run", "export_best"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"monitor": "throughput"}, "cannot be told from its name. Pass mode="),
        ({"mode": "up"}, "`mode` must be one of"),
        ({"save_freq": "batch"}, '`save_freq` must be "epoch" or a number of batches'),
        ({"save_freq": None}, '`save_freq` must be "epoch" or a number of batches. Received: None'),
        ({"path": "best{epoch"}, "`path` cannot be filled in: expected '}' before end of string"),
        ({"path": "best{}"}, "`path` must name what it is filled in with, e.g. {epoch:02d}. Received: "),
        ({"path": "best{0}"}, "`path` must name what it is filled in with"),
        ({"metadata": [1]}, "`metadata` must be a dict of JSON values"),
        ({"metadata": {"a": object()}}, r"`metadata` must be a dict of JSON values: metadata\['a'\]"),
        ({"save_freq": 0}, "`save_freq` must be None or a whole number >= 1"),
        ({"initial_value_threshold": "low"}, "`initial_value_threshold` must be None or a number"),
        ({"precison": "fp16"}, "Received: precison. Options of `export`: precision, "),
        ({"overwrite": True}, "Received: overwrite"),
        ({"opset": 3}, "`opset` must be"),
        ({"precision": "int7"}, "`precision` must be one of"),
        ({"engine": "tensorflow"}, "`engine` must be one of"),
        ({"batch": (8, 1, 2)}, "`batch` must be a whole number or"),
        ({"strict": "no"}, "`strict` must be True or False"),
    ],
)
def test_wrong_arguments_are_refused_before_training(given, text, tmp_path):
    with pytest.raises(InputError, match=text):
        ExportBest(**{"path": tmp_path / "b"} | given)


def test_a_path_that_names_what_the_logs_lack_is_an_error(k, tmp_path):
    with pytest.raises(InputError, match=r"`path` cannot be filled in: KeyError: 'val_loss'. Available: "):
        fit(net(k), [metric_best_in(k, 0), best(tmp_path / "{val_loss}")], epochs=1)
