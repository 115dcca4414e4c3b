"""What counts as a module of Keras's own."""

from __future__ import annotations

import pytest

from keras_trt._base.kerases import is_of_keras


@pytest.mark.parametrize(
    ("module", "own"),
    [
        ("keras", True),
        ("keras.src.layers.core.dense", True),
        ("tf_keras.src.losses", True),
        ("keras_trt.twins.twins", False),
        ("tensorflow.keras", False),
        ("__main__", False),
        ("", False),
    ],
)
def test_modules_of_either_keras_are_its_own(module, own):
    assert is_of_keras(module) is own
