"""Fixtures shared by all rooms: the two Kerases."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["keras3", "legacy"])
def k(request):
    """The Keras namespace under test: `keras` or `tf_keras`."""
    if request.param == "keras3":
        import keras

        return keras
    import tf_keras

    return tf_keras
