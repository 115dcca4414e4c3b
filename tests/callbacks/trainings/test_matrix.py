"""Our callbacks beside Keras's own, in both orders: zeros, ranges and measured weights are what they must be.

A slice of the matrix runs with the other tests; `tox -e callbacks` runs all of it.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

import keras_trt
from keras_trt.callbacks import EvaluateEngine, ExportBest, Prune, Quantize
from tests.nets import dense_net, metric_best_in, ranges

OURS = {
    "quantize": lambda: [Quantize()],
    "late": lambda: [Quantize(start_epoch=2)],
    "frozen": lambda: [Quantize(start_epoch=1, freeze_ranges_epoch=2, freeze_batchnorm_epoch=2)],
    "prune": lambda: [Prune(0.5, end_step=30, frequency=5)],
    "monitor": lambda: [Prune(0.6, monitor="val_accuracy", max_drop=0.1)],
    "both": lambda: [Quantize(start_epoch=1), Prune(0.6, monitor="val_accuracy", max_drop=0.1)],
    "export": lambda: [ExportBest("best.bundle", "val_accuracy", engine=None)],
    "quantized export": lambda: [Quantize(start_epoch=1), *OURS["export"]()],
    "engine": lambda: [Quantize(start_epoch=1), EvaluateEngine(digits()[1], every=2)],
}
QUANTISED = ("quantize", "late", "frozen", "both", "quantized export", "engine")
THEIRS = ("stopping", "keras file", "weights file", "backup", "tensorboard", "plateau", "ema", "swap", "nan")
SLICE = (
    ("late", "stopping", True),
    ("both", "stopping", False),
    ("monitor", "keras file", True),
    ("both", "weights file", False),
    ("both", "backup", False),
    ("prune", "ema", False),
    ("prune", "swap", True),
    ("frozen", "nan", True),
    ("quantized export", "backup", True),
    ("export", "tensorboard", False),
    ("engine", "stopping", True),
    ("engine", "ema", False),
)
WHOLE = [one for one in itertools.product(OURS, THEIRS, (True, False)) if one not in SLICE]
EPOCHS, STEPS = 5, 8
NO_EXPORT = "ignore:`callbacks.E.*NaN or infinite:UserWarning"  # of a training that met NaN


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    """What is exported lies beside the rest."""
    monkeypatch.chdir(tmp_path)


@functools.cache
def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    return (x[: 40 * STEPS], y[: 40 * STEPS]), (x[1200:1500], y[1200:1500])


def net(k, use_ema=False):
    model = dense_net(k, 64, 24, 10)
    optimizer = k.optimizers.Adam(5e-3, use_ema=use_ema, ema_momentum=0.8)
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )  # XLA would take most of the time
    return model


def fit(model, callbacks, data=None):
    train, val = digits()
    x, y = data or train
    return model.fit(
        x, y, batch_size=40, epochs=EPOCHS, shuffle=False, verbose=0, validation_data=val, callbacks=callbacks
    ).history


def accuracy(model):
    return model.evaluate(*digits()[1], verbose=0)[1]


def zeros(model):
    return float(np.mean(np.asarray(model.get_layer("a").kernel) == 0))


class Killed(Exception):
    pass


def order(k, ours, theirs, first):
    return (
        [metric_best_in(k, 1), *OURS[ours](), *theirs]
        if first
        else [metric_best_in(k, 1), *theirs, *OURS[ours]()]
    )


def check_state(model, ours):
    """What every combination must leave behind."""
    model_ranges, quantised = ranges(model), ours in QUANTISED
    assert all(np.isfinite(amax) and amax > 0 for amax in model_ranges)
    assert quantised or not model_ranges
    if ours in ("prune", "monitor", "both"):
        before = np.asarray(model.get_layer("a").kernel) == 0
        (x, y), _ = digits()
        model.fit(x, y, verbose=0)  # the masks are where the zeros are
        after = np.asarray(model.get_layer("a").kernel) == 0
        np.testing.assert_array_equal(before, after)


def beside_stopping(k, ours, first, tmp_path):
    model = net(k)
    stop = k.callbacks.EarlyStopping("metric", mode="max", patience=99, restore_best_weights=True)
    history = fit(model, order(k, ours, [stop], first))
    assert accuracy(model) == pytest.approx(history["val_accuracy"][1])
    return model


def beside_file(suffix, k, ours, first, tmp_path):
    model, path = net(k), str(tmp_path / f"best{suffix}")
    keep = k.callbacks.ModelCheckpoint(
        path, "metric", mode="max", save_best_only=True, save_weights_only=suffix == ".weights.h5"
    )
    seen = []
    watch = k.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(zeros(model)))
    history = fit(model, [*order(k, ours, [keep], first), watch])
    if suffix == ".keras":
        kept = keras_trt.load_model(path)
    else:
        kept = net(k)
        kept.optimizer.build(kept.trainable_variables)
        for callback in OURS[ours]():
            callback.set_model(kept)
        kept.load_weights(path)
    assert accuracy(kept) == pytest.approx(history["val_accuracy"][1])
    assert zeros(kept) == seen[1]
    return model


def beside_backup(k, ours, first, tmp_path):
    def train(at):
        model = net(k)

        def kill(epoch, logs=None):
            if epoch == at:
                raise Killed

        backup = k.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        watch = k.callbacks.LambdaCallback(on_epoch_begin=kill)
        fit(model, [*order(k, ours, [backup], first), watch])
        return model

    whole = train(None)
    with pytest.raises(Killed):
        train(3)
    resumed = train(None)
    resumed._training_state = None  # tf_keras deletes it, and its next `fit` looks for it
    for ours_, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours_, theirs)
    return resumed


def beside_tensorboard(k, ours, first, tmp_path):
    pytest.importorskip("tensorboard")
    model = net(k)
    board = k.callbacks.TensorBoard(str(tmp_path / "logs"), histogram_freq=1, write_graph=False)
    fit(model, order(k, ours, [board], first))
    assert list((tmp_path / "logs").rglob("events*"))
    return model


def beside_plateau(k, ours, first, tmp_path):
    model = net(k)
    plateau = k.callbacks.ReduceLROnPlateau("metric", mode="max", patience=1, factor=0.1)
    fit(model, order(k, ours, [plateau], first))
    assert float(np.asarray(model.optimizer.learning_rate)) < 5e-3
    return model


def beside_ema(k, ours, first, tmp_path, theirs=()):
    model, seen = net(k, use_ema=True), []
    watch = k.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(zeros(model)))
    fit(model, [*order(k, ours, theirs, first), watch])
    if ours == "prune":
        assert seen[-1] == zeros(model) == pytest.approx(0.5, abs=1e-3)
    return model


def beside_swap(k, ours, first, tmp_path):
    if not hasattr(k.callbacks, "SwapEMAWeights"):
        pytest.skip("this Keras has no SwapEMAWeights")
    return beside_ema(k, ours, first, tmp_path, [k.callbacks.SwapEMAWeights(swap_on_epoch=True)])


def beside_nan(k, ours, first, tmp_path):
    model, (x, y) = net(k), digits()[0]
    x = x.copy()
    x[-1] = np.nan
    history = fit(model, order(k, ours, [k.callbacks.TerminateOnNaN()], first), (x, y))
    assert len(history["loss"]) == 1
    assert all(np.isfinite(amax) for amax in ranges(model))
    return


BESIDE = {
    "stopping": beside_stopping,
    "keras file": functools.partial(beside_file, ".keras"),
    "weights file": functools.partial(beside_file, ".weights.h5"),
    "backup": beside_backup,
    "tensorboard": beside_tensorboard,
    "plateau": beside_plateau,
    "ema": beside_ema,
    "swap": beside_swap,
    "nan": beside_nan,
}


# The schedule of 30 steps and the late start lie behind some trainings that others stop.
@pytest.mark.filterwarnings("ignore:This training:UserWarning", NO_EXPORT)
@pytest.mark.parametrize(("ours", "theirs", "first"), SLICE)
def test_a_slice(k, ours, theirs, first, tmp_path):
    model = BESIDE[theirs](k, ours, first, tmp_path)
    if model is not None:
        check_state(model, ours)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This training:UserWarning", NO_EXPORT)
@pytest.mark.parametrize(("ours", "theirs", "first"), WHOLE)
def test_the_whole(k, ours, theirs, first, tmp_path):
    model = BESIDE[theirs](k, ours, first, tmp_path)
    if model is not None:
        check_state(model, ours)
        found = keras_trt.export(model, tmp_path / "bundle", engine=None, verbose=0)
        assert not found.precision.startswith("int8") or ours not in ("prune", "monitor")
