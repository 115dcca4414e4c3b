"""TF-MOT beside us, imported without letting it change the environment."""

import os

import pytest


@pytest.fixture
def tfmot_pruning_utils():
    import tensorflow as tf

    tf.keras.Model
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    from tensorflow_model_optimization.python.core.sparsity.keras import pruning_utils

    if before is None:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
    return pruning_utils
