"""Moving averages of pruned weights (`use_ema=True`), without any callback."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import prune_model

X, Y = np.random.default_rng(0).normal(size=(64, 8)).astype("float32"), np.arange(64) % 4


@pytest.mark.parametrize("pruned", [True, False])
def test_averages_are_zero_where_the_weights_are(k, pruned):
    model = k.Sequential([k.Input((8,)), k.layers.Dense(16, name="a"), k.layers.Dense(4)])
    model = prune_model(model, 0.5) if pruned else model
    optimizer = k.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5)
    model.compile(optimizer, k.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(X, Y, epochs=2, verbose=0)  # which writes the averages over the weights
    assert np.mean(np.asarray(model.get_layer("a").kernel) == 0) == (0.5 if pruned else 0)
    model.fit(X, Y, epochs=1, verbose=0)
    assert np.mean(np.asarray(model.get_layer("a").kernel) == 0) == (0.5 if pruned else 0)
