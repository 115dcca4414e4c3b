"""`SparsityLog` writes to the history and to TensorBoard."""

import numpy as np
import pytest

from keras_trt.callbacks import Prune, SparsityLog

X, Y = np.random.default_rng(0).random((32, 8), dtype="float32"), np.arange(32) % 4


def net(k):
    layers = [k.layers.Dense(16, name="a"), k.layers.Dense(4, activation="softmax", name="b")]
    model = k.Sequential([k.Input((8,)), *layers])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_history_holds_the_sparsity_of_every_epoch(k):
    callbacks = [Prune(0.5, begin_step=4), SparsityLog(per_layer=True)]
    history = net(k).fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks).history
    assert history["sparsity"] == [0.0, 0.5]
    assert history["sparsity/a.kernel"] == [0.0, 0.5]


def test_later_callbacks_and_a_plain_model_are_served(k, tmp_path):
    log = tmp_path / "log.csv"
    net(k).fit(X, Y, epochs=1, verbose=0, callbacks=[SparsityLog(), k.callbacks.CSVLogger(str(log))])
    assert "sparsity" in log.read_text().splitlines()[0]


def test_tensorboard_gets_one_scalar_per_weight(k, tmp_path):
    import tensorflow as tf

    net(k).fit(X, Y, epochs=2, verbose=0, callbacks=[Prune(0.75), SparsityLog(tmp_path)])
    (file,) = tmp_path.iterdir()
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(file)):
        for value in event.summary.value:
            found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    assert found["sparsity/a.kernel", 1] == pytest.approx(0.75)
    assert {tag for tag, _ in found} == {"sparsity", "sparsity/a.kernel", "sparsity/b.kernel"}
