"""The three face detectors of the package `mtcnn`, on faces and on patches without one."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from tests.trained.road import decibels, outputs, walked

mtcnn = pytest.importorskip("mtcnn.stages")
data = pytest.importorskip("skimage.data")

SIZES = {"PNet": 40, "RNet": 24, "ONet": 48}


def patches(size):
    """Scikit-image's 200 patches, half of them faces, and pieces of a photograph, scaled as `mtcnn` does."""
    import tensorflow as tf

    small = data.lfw_subset().astype(np.float32)[..., np.newaxis].repeat(3, axis=-1) * 255
    photograph = data.astronaut().astype(np.float32)
    corners = [(i, j) for i in range(0, 300, 20) for j in range(0, 300, 20)]
    pieces = np.stack([photograph[i : i + 200, j : j + 200] for i, j in corners])
    both = np.concatenate([tf.image.resize(x, (size, size)).numpy() for x in (small, pieces)])
    return ((both - 127.5) / 128)[np.random.default_rng(0).permutation(len(both))]


@pytest.mark.parametrize("name", SIZES)
def test_the_network_decides_as_in_float(name, tmp_path):
    model, x = getattr(mtcnn, f"Stage{name}")()._model, patches(SIZES[name])
    model.predict(x[:2], verbose=0)
    half = len(x) // 2
    exact, found, quantized = walked(model, tmp_path, x[:half], x[half:])
    *numbers, faces = zip(found, exact, strict=True)
    assert faces[1].shape[-1] == 2
    assert np.mean(faces[0].argmax(-1) == faces[1].argmax(-1)) >= 0.99
    for places in numbers:
        assert decibels(*places) >= 25
    keras_trt.save_model(quantized, tmp_path / "net.keras")
    loaded = keras_trt.load_model(tmp_path / "net.keras", custom_objects={type(model).__name__: type(model)})
    for a, b in zip(outputs(loaded, x[half:]), outputs(quantized, x[half:]), strict=True):
        np.testing.assert_array_equal(a, b)
