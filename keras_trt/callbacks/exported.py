"""Exporting a model that is in training, where a failure must not end the training."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model
from keras_trt.errors import InputError

OURS = ("model", "path", "overwrite", "verbose")


def check_options(options: Mapping[str, object], callback: str) -> dict[str, Any]:
    """The options of `export` that a callback takes.

    Raises:
        InputError: `export` has no such option, the callback sets it itself, or its value is wrong for any
            model.
    """
    from keras_trt.exporting.arguments import checked
    from keras_trt.exporting.export import export

    parameters = inspect.signature(export).parameters
    known = [name for name in parameters if name not in OURS]
    wrong = [name for name in options if name not in known]
    if wrong:
        raise InputError(
            f"`callbacks.{callback}` takes its own arguments and options of `export`. "
            f"Received: {', '.join(wrong)}. Options of `export`: {', '.join(known)}"
        )
    checked({name: one.default for name, one in parameters.items()} | dict(options))
    return dict(options)


def exported(model: Model, path: Path, options: Mapping[str, Any]) -> None:
    """Exports a model in training, over an older bundle."""
    from keras_trt.exporting.export import export

    flavor_of(model).bring_up_to_date(model)
    with suppress(OSError):  # `export` tells of a folder that is not there
        path.parent.mkdir(parents=True, exist_ok=True)
    export(model, path, overwrite=True, verbose=0, **options)


def warn_of_failure(callback: str, epoch: int, error: Exception, mark: str) -> None:
    """Says why a model in training could not be exported or measured."""
    warnings.warn(
        f"`callbacks.{callback}`, epoch {epoch + 1}: the model could not be exported and run, training "
        f"goes on (`{mark}` in the history is 1 for this epoch). {type(error).__name__}: {error}",
        stacklevel=3,
    )
