"""The old example runs to its end on both Kerases, and does what its words say."""

from __future__ import annotations

import numpy as np

import keras_trt
from examples import old_example


def test_the_old_example_quantises_prunes_fuses_trains_and_evaluates(k):
    model, accuracy = old_example.run(k.applications.resnet50, None, size=32, samples=4, epochs=1)

    assert 0 <= accuracy <= 1
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
