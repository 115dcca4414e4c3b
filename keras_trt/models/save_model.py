"""A model on its way to disk."""

from __future__ import annotations

import json
import os
import zipfile
from os import PathLike
from pathlib import Path

from keras_trt._keras.arguments import required_arguments
from keras_trt._keras.kernels import is_keras_own
from keras_trt._keras.masks.masking import mask_infos
from keras_trt._keras.types import Model
from keras_trt._machine.disk import full_disk
from keras_trt._machine.swap import replaced_file
from keras_trt.errors import InputError, ModelError
from keras_trt.models.keras_file import MASKS, keras_file
from keras_trt.tfmot.accept import accept
from keras_trt.twins.twins import float_class


def save_model(model: Model, path: str | PathLike[str]) -> None:
    """Saves a model, quantised or pruned or plain, as a `.keras` file; written beside, then renamed.

    When saving fails, or the process is killed at any moment, what was at `path` stays.

    Args:
        model: A built Keras 3 or tf_keras model.
        path: A file name that ends in `.keras`; an existing file is replaced whole.

    Raises:
        InputError: Another suffix, or a folder is there.
        ModelError: The model is not built, Keras could not read it again, or the disk is full.

    Example:
        >>> keras_trt.save_model(quantized, "quantized.keras")
    """
    model = accept(model).model
    _check_readable(model)
    path = Path(os.path.realpath(keras_file(path)))
    if path.is_dir():
        raise InputError(f"A folder is not replaced by a file. Received: path={str(path)!r}, a folder")
    try:
        with replaced_file(path) as beside:
            model.save(beside)
            with zipfile.ZipFile(beside, "a") as archive:  # Keras does not look at it
                archive.writestr(MASKS, json.dumps(mask_infos(model)))
    except OSError as e:
        full = full_disk(e, path, f"`{path}` was not written and nothing of it was left behind")
        if full is None:
            raise
        raise ModelError(full) from e


def _check_readable(model: Model) -> None:
    """Refuses a model that Keras cannot make anew: tf_keras raises an error, Keras 3 reads no weights."""
    needed = required_arguments(model)
    builder = next(cls for cls in float_class(model).__mro__ if "build" in vars(cls))
    if len(needed) > 1 and is_keras_own(builder):
        raise ModelError(
            f"The file of model {model.name!r} could not be loaded: Keras makes the weights of a subclassed "
            "model by calling it on one argument, unless its class has a `build` of its own. "
            f"Received: call({', '.join(needed)}). Write such a `build`, let `call` take a list, a tuple or "
            "a dict of the inputs, or save with `model.save_weights`."
        )
