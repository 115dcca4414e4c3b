"""Trainings that were killed within an epoch or between two, and resumed by BackupAndRestore.

What is right is measured on Keras alone: tf_keras goes on with the batch after the last one stored, but hands
it the data of the epoch from its beginning, so that it is compared on batches that are all the same; Keras 3
begins the interrupted epoch again, so that it is compared with the model that was interrupted, trained on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_trt.callbacks import Prune, Quantize
from tests.nets import dense_net

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
X = np.random.default_rng(0).normal(size=(STEPS * BATCH, 16)).astype("float32")
Y = np.argmax(X @ np.random.default_rng(1).normal(size=(16, 4)), axis=1)


class Killed(Exception):
    pass


def net(k):
    model = dense_net(k, 16, 12, 4)
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


def data_for(k, save_freq):
    """Batches that are all the same where the Keras resumes within an epoch, on whichever batch it takes."""
    if k.__name__ == "keras" or save_freq == "epoch":
        return X, Y
    return np.tile(X[:BATCH], (STEPS, 1)), np.tile(Y[:BATCH], STEPS)


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
    folder, data = str(tmp_path / "backup"), data_for(k, 1)
    if k.__name__ == "keras":  # begins the epoch again: so does the model that stayed in memory
        model = killed(k, ours, folder, (2, 1), 1)
        whole = fit(k, model, ours, [], first_epoch=2)
        same(fit(k, net(k), ours, [k.callbacks.BackupAndRestore(folder, 1)]), whole)
        return
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
import importlib, os, signal, sys
sys.path[:0] = {paths!r}
import test_resumed as t
k = importlib.import_module({keras!r})
backup = [k.callbacks.BackupAndRestore({folder!r}, {save_freq!r})]
deaths = dict(exit=lambda: os._exit(7), kill=lambda: os.kill(os.getpid(), signal.SIGKILL))
t.fit(k, t.net(k), {ours!r}, backup, {at!r}, deaths[{death!r}], data=t.data_for(k, {save_freq!r}))
"""


def gone(k, ours, folder, at, save_freq, death):
    """Trains in a process that does not live to the end."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[2])]
    script = DYING.format(
        paths=paths, keras=k.__name__, folder=folder, ours=ours, at=at, save_freq=save_freq, death=death
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=300, capture_output=True)
    assert done.returncode == {"exit": 7, "kill": -signal.SIGKILL}[death], done.stderr.decode()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("death", ["exit", "kill"])
def test_a_process_that_is_gone_between_epochs_is_resumed_by_another(k, tmp_path, death):
    folder = str(tmp_path / "backup")
    gone(k, "both", folder, (3, None), "epoch", death)
    same(fit(k, net(k), "both", [k.callbacks.BackupAndRestore(folder)]), fit(k, net(k), "both", []))


@pytest.mark.slow
@pytest.mark.parametrize("death", ["exit", "kill"])
@pytest.mark.parametrize("ours", ["keras", "frozen", "both", "both scheduled"])
def test_a_process_that_is_gone_within_an_epoch_is_resumed_by_another(k, ours, tmp_path, death):
    folder, data = str(tmp_path / "backup"), data_for(k, 2)
    gone(k, ours, folder, (2, 2), 2, death)  # the last of every second batch stored is the one before
    resumed = fit(k, net(k), ours, [k.callbacks.BackupAndRestore(folder, 2)], data=data)
    if k.__name__ == "keras":
        stopped = killed(k, ours, str(tmp_path / "other"), (2, 1), 2)
        same(resumed, fit(k, stopped, ours, [], first_epoch=2))
    else:
        same(resumed, fit(k, net(k), ours, [], data=data))


def test_keras_alone_does_not_resume_within_an_epoch_bit_for_bit(k, tmp_path):
    folder = str(tmp_path / "backup")
    killed(k, "keras", folder, (2, 1), 1)
    resumed = fit(k, net(k), "keras", [k.callbacks.BackupAndRestore(folder, 1)])
    with pytest.raises(AssertionError):
        same(resumed, fit(k, net(k), "keras", []))


@pytest.mark.parametrize("how", ["NonNeg", "Ftrl"])
def test_weights_that_training_brings_to_zero_stay_free_when_it_is_resumed(k, how, tmp_path):
    def fresh():
        model = net(k)
        optimizer = k.optimizers.Adam(1e-2)
        if how == "NonNeg":
            model.get_layer("a").kernel_constraint = k.constraints.NonNeg()
            model = k.models.clone_model(model)
        else:
            optimizer = k.optimizers.Ftrl(0.05, l1_regularization_strength=0.02)
        k.utils.set_random_seed(0)
        model.set_weights(net(k).get_weights())
        model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
        return model

    def train(*callbacks, first_epoch=0, model=None):
        model = model or fresh()
        ours = Prune(0.25, end_step=18, frequency=3)
        options = {"batch_size": BATCH, "epochs": EPOCHS, "shuffle": False, "verbose": 0}
        model.fit(X, Y, initial_epoch=first_epoch, callbacks=[ours, *callbacks], **options)
        return model

    def cut(epoch, logs=None):
        if epoch == 3:
            raise Killed

    whole = train()
    assert np.mean(np.asarray(whole.get_layer("a").kernel) == 0) == 0.25
    folder = str(tmp_path / "backup")
    model = fresh()
    with pytest.raises(Killed):
        train(
            k.callbacks.BackupAndRestore(folder), k.callbacks.LambdaCallback(on_epoch_begin=cut), model=model
        )
    same(train(k.callbacks.BackupAndRestore(folder)), whole)
    model._training_state = None  # tf_keras looks for its backup in it
    same(train(first_epoch=3, model=model), whole)
