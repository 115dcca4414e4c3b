"""The one place that imports TF-MOT, and keeps it from changing which Keras the process uses."""

from __future__ import annotations

import os
from types import ModuleType

from keras_trt._machine.deps import require
from keras_trt._machine.process import alone

_SWITCH = "TF_USE_LEGACY_KERAS"


def import_tfmot() -> ModuleType:
    """The `tensorflow_model_optimization` module.

    On import it sets `TF_USE_LEGACY_KERAS=1`, which would turn an untouched `tf.keras` into tf_keras, here
    and in child processes. So `tf.keras` is settled first, as the user's environment says, and the variable
    is put back afterwards. What the user's own import of TF-MOT has done before is left alone.

    Raises:
        MissingDependencyError: TF-MOT is not installed.
    """
    import tensorflow as tf

    getattr(tf.keras, "layers", None)  # lazy: any attribute settles which Keras it is
    with alone():  # another thread would take what the import has set for what was there before
        before = os.environ.get(_SWITCH)
        try:
            return require("tensorflow_model_optimization", install="keras-trt[keras]", why="keras_trt.tfmot")
        finally:
            if before is None:
                os.environ.pop(_SWITCH, None)
            else:
                os.environ[_SWITCH] = before
