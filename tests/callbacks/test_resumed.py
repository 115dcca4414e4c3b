"""Trainings that were killed within an epoch or between two, and resumed by BackupAndRestore.

What is right is measured on Keras alone: tf_keras goes on with the batch after the last one stored, but hands
it the data of the epoch from its beginning, so that it is compared on batches that are all the same; Keras 3
begins the interrupted epoch again, so that it is compared with the model that was interrupted, trained on.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_trt.callbacks import Prune, Quantize

OURS = {
    "keras": lambda: [],
    "quantize": lambda: [Quantize()],
    "late": lambda: [Quantize(start_epoch=2)],
    "frozen": lambda: [Quantize(start_epoch=1, freeze_ranges_epoch=2, freeze_batchnorm_epoch=2)],
    "prune": lambda: [Prune(0.6, end_step=18, frequency=3)],
    "monitor": lambda: [Prune(0.6, monitor="val_loss", max_drop=0.5)],
    "both": lambda: [Quantize(start_epoch=1), Prune(0.6, monitor="val_loss", max_drop=0.5)],
    "both scheduled": lambda: [Quantize(start_epoch=2), Prune(0.6, end_step=18, frequency=3)],
}
EPOCHS, STEPS, BATCH = 5, 5, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(STEPS * BATCH, 16)).astype("float32")
Y = np.argmax(X @ RNG.normal(size=(16, 4)), axis=1)


class Killed(Exception):
    pass


def net(k):
    k.utils.set_random_seed(0)
    layers = k.layers
    model = k.Sequential(
        [
            k.Input((16,)),
            layers.Dense(12, name="a"),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.Dense(4, activation="softmax", name="b"),
        ]
    )
    model.compile(k.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def fit(k, model, ours, backup, kill=None, die=None, first_epoch=0, data=(X, Y)):
    """Trains; `kill` is (epoch, batch), or (epoch, None) for the end of one."""
    now = [0]

    def at_epoch(epoch, logs=None):
        now[0] = epoch
        if kill == (epoch, None):
            die()

    def after_batch(batch, logs=None):
        if kill == (now[0], batch):
            die()

    watch = k.callbacks.LambdaCallback(on_epoch_begin=at_epoch, on_train_batch_end=after_batch)
    model.fit(
        *data,
        batch_size=BATCH,
        epochs=EPOCHS,
        initial_epoch=first_epoch,
        shuffle=False,
        verbose=0,
        validation_data=(X, Y),
        callbacks=[*OURS[ours](), *backup, watch],
    )
    return model


def die():
    raise Killed


def killed(k, ours, folder, kill, save_freq, data=(X, Y)):
    model = net(k)
    with pytest.raises(Killed):
        fit(k, model, ours, [k.callbacks.BackupAndRestore(folder, save_freq)], kill, die, data=data)
    return model


def same(ours, theirs):
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    variables = [m.optimizer.variables for m in (ours, theirs)]
    variables = [v() if callable(v) else v for v in variables]
    for one, other in zip(*variables, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("ours", ["frozen", "both"])
def test_a_training_killed_between_epochs_goes_on_bit_for_bit(k, ours, tmp_path):
    whole = fit(k, net(k), ours, [])
    killed(k, ours, str(tmp_path / "backup"), (2, None), "epoch")
    same(fit(k, net(k), ours, [k.callbacks.BackupAndRestore(str(tmp_path / "backup"))]), whole)


@pytest.mark.slow
@pytest.mark.parametrize("ours", [name for name in OURS if name not in ("frozen", "both")])
def test_so_does_every_other(k, ours, tmp_path):
    test_a_training_killed_between_epochs_goes_on_bit_for_bit(k, ours, tmp_path)


@pytest.mark.parametrize("ours", ["frozen", "both"])
def test_a_training_killed_within_an_epoch_goes_on_as_one_that_was_not(k, ours, tmp_path):
    folder = str(tmp_path / "backup")
    if k.__name__ == "keras":  # begins the epoch again: so does the model that stayed in memory
        model = killed(k, ours, folder, (2, 1), 1)
        whole = fit(k, model, ours, [], first_epoch=2)
        same(fit(k, net(k), ours, [k.callbacks.BackupAndRestore(folder, 1)]), whole)
        return
    data = np.tile(X[:BATCH], (STEPS, 1)), np.tile(Y[:BATCH], STEPS)  # the same, whichever batch it is
    killed(k, ours, folder, (2, 1), 1, data)
    same(
        fit(k, net(k), ours, [k.callbacks.BackupAndRestore(folder, 1)], data=data),
        fit(k, net(k), ours, [], data=data),
    )


@pytest.mark.slow
@pytest.mark.parametrize("ours", [name for name in OURS if name not in ("frozen", "both")])
def test_so_does_every_other_within_an_epoch(k, ours, tmp_path):
    test_a_training_killed_within_an_epoch_goes_on_as_one_that_was_not(k, ours, tmp_path)


DYING = """
import importlib, os, sys
sys.path.insert(0, {here!r})
import test_resumed as t
k = importlib.import_module({keras!r})
backup = [k.callbacks.BackupAndRestore({folder!r})]
t.fit(k, t.net(k), "both", backup, (3, None), lambda: os._exit(7))
"""


@pytest.mark.slow
def test_a_process_that_is_gone_is_resumed_by_another(k, tmp_path):
    folder = str(tmp_path / "backup")
    script = DYING.format(here=str(Path(__file__).parent), keras=k.__name__, folder=folder)
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=300).returncode == 7
    same(fit(k, net(k), "both", [k.callbacks.BackupAndRestore(folder)]), fit(k, net(k), "both", []))
