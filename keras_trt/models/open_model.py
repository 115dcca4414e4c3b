"""A Keras model from whatever Keras has written: `.keras`, HDF5, or a SavedModel of tf_keras."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from keras_trt._base.arguments import check_boolean, check_mapping, check_path
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import keras3, legacy
from keras_trt._keras.rebuilding.named_classes import check_names, entries
from keras_trt._keras.types import Model
from keras_trt.errors import InputError, KerasTRTError, ModelError
from keras_trt.models.load_model import load_model

_HDF5 = (".h5", ".hdf5")
_CODE = ("Lambda", "__lambda__")  # what a file of the old form carries code in


def open_model(
    path: str | PathLike[str], *, custom_objects: Mapping[str, object] | None = None, safe_mode: bool = True
) -> Model:
    """Opens a model for prediction and export, with the Keras that wrote it; its optimizer stays behind.

    Args:
        path: A `.keras` file, an HDF5 file (`.h5`), or the folder of a SavedModel that tf_keras wrote.
        custom_objects: Custom classes by name.
        safe_mode: False lets the file carry code: Lambda layers, and any SavedModel, which is a program of
            TensorFlow's. Only for files you trust.

    Raises:
        InputError: Nothing is there, of another kind, or it cannot be read.
        ModelError: The file names a class that is not known here, or carries code in safe mode.
    """
    path = check_path(path).expanduser()
    custom = check_mapping(custom_objects, "custom_objects")
    check_boolean(safe_mode, "safe_mode")
    if path.is_dir():
        return _of_saved_model(path, custom, safe_mode)
    if not path.exists():
        raise InputError(f"There is no model at '{path}'.")
    if path.suffix not in (".keras", *_HDF5):
        raise InputError(
            f"A model is a `.keras` or `.h5` file, or the folder of a SavedModel. Received: '{path}'"
        )
    if path.suffix in _HDF5:
        return _of_hdf5(path, custom, safe_mode)
    return load_model(path, custom_objects=custom, compile=False, safe_mode=safe_mode)


def _of_hdf5(path: Path, custom: Mapping[str, object], safe_mode: bool) -> Model:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "2")
    except OSError as e:
        raise InputError(f"No readable HDF5 file at '{path}': {e}") from e
    if config is None:
        raise InputError(
            f"'{path}' holds weights without a model. Build the model and call `load_weights`, then "
            "`keras_trt.save_model(model, 'model.keras')`."
        )
    flavor = keras3() if _text(version).startswith("3") else legacy()
    try:
        described = json.loads(_text(config))
    except ValueError as e:
        raise InputError(f"'{path}' is damaged: its model_config is no JSON: {e}") from e
    _check_code(described, path, safe_mode)
    check_names(flavor, described, custom, safe_mode=safe_mode)
    return _loaded(flavor, path, custom, safe_mode=safe_mode)


def _of_saved_model(path: Path, custom: Mapping[str, object], safe_mode: bool) -> Model:
    if not (path / "saved_model.pb").is_file():
        raise InputError(
            f"'{path}' is a folder without a Keras model: a `.keras` or `.h5` file or a SavedModel is needed."
        )
    if not (path / "keras_metadata.pb").is_file():
        raise InputError(
            f"'{path}' is a SavedModel without its Keras model, as `model.export` writes it. Save the model "
            "itself: model.save('model.keras')"
        )
    if safe_mode:
        raise ModelError(
            f"'{path}' is a SavedModel, a program of TensorFlow's that can do anything when it is loaded. If "
            "you trust it, load it with safe_mode=False, and save it as `.keras`."
        )
    return _loaded(legacy(), path, custom)


def _check_code(config: object, path: Path, safe_mode: bool) -> None:
    carries = any(entry.get("class_name") in _CODE for entry in entries(config))
    if carries and safe_mode:
        raise ModelError(
            f"'{path}' carries code in a Lambda layer, which would run when it is loaded. If you trust it, "
            "load it with safe_mode=False."
        )


def _loaded(flavor: Flavor, path: Path, custom: Mapping[str, object], **options: bool) -> Model:
    try:
        return flavor.keras.models.load_model(path, custom_objects=custom, compile=False, **options)
    except KerasTRTError:
        raise
    except Exception as e:
        raise InputError(f"'{path}' cannot be loaded: {type(e).__name__}: {e}") from e


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
