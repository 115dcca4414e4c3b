"""The old example's script runs to its end on both Kerases, and does what its words say."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

import keras_trt
from examples import run_all


def test_the_old_example_quantises_prunes_fuses_and_trains(k, monkeypatch):
    monkeypatch.syspath_prepend(Path(run_all.__file__).parent)
    old_example = importlib.import_module("old_example")
    x, y, _, _ = (some[:4] for some in old_example.data(32))
    rows, losses = {}, []

    def fit(model, epochs, learning_rate):
        if len(rows) == 1:
            return  # the training before the pruning takes as long as the one behind it, and shows no more
        model.compile(k.optimizers.Adam(learning_rate), "categorical_crossentropy", jit_compile=False)
        losses.extend(model.fit(x, y, epochs=epochs, verbose=0).history["loss"])

    # Without calibration data the ranges come from the training, as in the article.
    model = old_example.compressed(old_example.network(k, None, 32), None, fit, 1, rows.__setitem__)

    assert list(rows) == ["int8, PTQ", "int8, QAT", "int8, pruned, fused"]
    assert len(losses) == 1
    assert np.isfinite(losses).all()
    assert isinstance(model, k.Model)
    layers = {row["layer"]: row for row in keras_trt.report(model).rows}
    convolutions = [row for row in layers.values() if row["kind"] == "Conv2D"]
    assert len(convolutions) == 53
    assert all(row["quantised"] for row in convolutions)
    assert not [row for row in layers.values() if row["kind"] == "BatchNormalization"]
    # threshold=0.5 zeroes |w| < 0.5 std; a uniform kernel (Glorot) has 0.5/sqrt(3) = 28.9% of those.
    kernel = np.asarray(model.get_layer("conv5_block3_2_conv").kernel)
    assert abs((kernel == 0).mean() - 0.5 / np.sqrt(3)) < 0.01
    assert np.isfinite(kernel).all()
