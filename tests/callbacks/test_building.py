"""Callbacks on models without weights: `fit` may build them, or never."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.callbacks import Prune, Quantize
from keras_trt.errors import ModelError

X, Y = np.random.default_rng(0).normal(size=(64, 8)).astype("float32"), np.arange(64) % 4


def unbuilt(k):
    k.utils.set_random_seed(0)
    model = k.Sequential([k.layers.Dense(16, name="a"), k.layers.Dense(4, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    return model


@pytest.mark.parametrize("batches", [1, 4])
def test_prune_takes_a_model_that_its_first_batch_builds(k, batches):
    model = unbuilt(k)
    assert not model.built
    model.fit(X, Y, batch_size=64 // batches, epochs=2, verbose=0, callbacks=[Prune(0.5)])
    assert np.mean(np.asarray(model.get_layer("a").kernel) == 0) == 0.5


def test_prune_by_a_metric_takes_one_too(k):
    model = unbuilt(k)
    prune = Prune(0.4, monitor="loss", max_drop=100.0)
    model.fit(X, Y, batch_size=16, epochs=4, verbose=0, callbacks=[prune, Quantize(start_epoch=1)])
    assert prune.search.accepted == pytest.approx(0.4)
    assert np.mean(np.asarray(model.get_layer("a").kernel) == 0) == pytest.approx(0.4, abs=0.01)


def test_a_model_that_is_never_called_as_a_whole_is_refused_at_the_start(k):
    class Gan(k.Model):
        def __init__(self, generator):
            super().__init__(name="gan")
            self.generator = generator

    model = Gan(k.Sequential([k.Input((8,)), k.layers.Dense(4)], name="generator"))
    model.compile("adam", "mse")
    for callback in (Quantize(), Prune(0.5)):
        with pytest.raises(ModelError, match="'gan'.*no `call`.*Parts: generator"):
            callback.set_model(model)
