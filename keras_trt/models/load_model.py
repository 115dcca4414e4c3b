"""A model on its way back from disk."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from keras_trt._base.arguments import check_boolean, check_mapping
from keras_trt._keras.flavor_of import keras3, legacy
from keras_trt._keras.masks.masking import mask_class, rebind, restore_masks
from keras_trt._keras.rebuilding.named_classes import check_names
from keras_trt._keras.rebuilding.stored_lambdas import check_lambdas, reading_lambdas
from keras_trt._keras.types import Model
from keras_trt.errors import InputError, KerasTRTError
from keras_trt.models.check_adopted import check_adopted
from keras_trt.models.keras_file import MASKS, keras_file
from keras_trt.prune.search.state import search_state, searched
from keras_trt.runtime.keras_layer import layer_class
from keras_trt.runtime.loading import reopen
from keras_trt.twins.registry import deciding, register


def load_model(
    path: str | PathLike[str],
    *,
    custom_objects: Mapping[str, object] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Model:
    """Loads a `.keras` file with the Keras that wrote it; quantisers and masks come back.

    A file may name Keras's own classes, registered ones, those in `custom_objects`, and layers (losses,
    optimizers, ...) that a module imported already defines. No module is imported because a file names it.

    Args:
        path: A file written by `save_model`, `model.save` or `ModelCheckpoint`.
        custom_objects: Custom classes by name, as in `keras.models.load_model`.
        compile: Whether to restore the optimizer and its state.
        safe_mode: As in `keras.models.load_model`: False lets the file carry code, in Lambda layers and in
            lambdas that layers have as activations. Only for files you trust.

    Returns:
        A model of the Keras that wrote the file.

    Raises:
        InputError: No `.keras` file is there, it is damaged, or Keras cannot read it.
        ModelError: The file names a class that is not known here, or a layer of the file did not come back
            quantised.

    Example:
        >>> quantized = keras_trt.load_model("quantized.keras", custom_objects={"Gate": Gate})
    """
    path = keras_file(path)
    custom = check_mapping(custom_objects, "custom_objects")
    check_boolean(compile, "compile")
    check_boolean(safe_mode, "safe_mode")
    with _named(f"No readable `.keras` file at {str(path)!r}"):
        version, config, masks = _contents(path)
    with _named(f"`{path}` cannot be loaded"):
        flavor = keras3() if version.startswith("3") else legacy()
        mask_class(flavor)  # known to Keras only once it has been made
        if flavor.has_graphs:
            layer_class(flavor, reopen)  # likewise
        wanted = config if compile else {**config, "compile_config": None}
        check_lambdas(wanted, custom, safe_mode=safe_mode)
        registered = deciding(flavor, register(flavor, config, custom))
        lambdas = reading_lambdas(flavor, custom, safe_mode=safe_mode)
        with registered, flavor.reading_archives(), lambdas:
            check_names(flavor, wanted, custom, safe_mode=safe_mode)
            model = flavor.keras.models.load_model(
                path, custom_objects=custom, compile=compile, safe_mode=safe_mode
            )
        check_adopted(flavor, model)
        rebind(model)
        restore_masks(model, masks)
        owner = searched(flavor, model)
        if owner is not None:  # how far `Prune(monitor)` has come, which no layer's config makes a place for
            search_state(flavor, owner)
            with flavor.reading_archives():
                model.load_weights(path)
    return model


def _contents(path: Path) -> tuple[str, dict[str, Any], list[dict[str, Any] | None]]:
    """The Keras version, the config and what the masks remember, of a whole `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise InputError(f"`{path}` is damaged: the checksum of its part {damaged!r} is wrong.")
        version = json.loads(archive.read("metadata.json"))["keras_version"]
        config = json.loads(archive.read("config.json"))
        masks = json.loads(archive.read(MASKS)) if MASKS in archive.namelist() else []
    if not isinstance(version, str) or not isinstance(config, dict):
        raise InputError(f"`{path}` is no `.keras` file: keras_version={version!r}")
    if not (isinstance(masks, list) and all(info is None or isinstance(info, dict) for info in masks)):
        raise InputError(f"`{path}` is damaged: its {MASKS} is no list of objects.")
    return version, config, masks


@contextmanager
def _named(problem: str) -> Iterator[None]:
    """Whatever a file makes the JSON reader, zipfile, HDF5 or Keras raise becomes an error that names it."""
    try:
        yield
    except KerasTRTError:
        raise
    except Exception as e:
        raise InputError(f"{problem}: {type(e).__name__}: {e}") from e
