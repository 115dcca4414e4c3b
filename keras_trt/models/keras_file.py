"""The file that a model is kept in."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from keras_trt._base.arguments import check_path
from keras_trt.errors import InputError, ModelError

MASKS = "keras_trt_masks.json"
"""In a `.keras` file: what each mask remembers."""


def keras_file(path: str | PathLike[str]) -> Path:
    """The path of a `.keras` file in a folder that is there.

    Raises:
        InputError: Another suffix.
        ModelError: There is no such folder.
    """
    path = check_path(path)
    if path.suffix != ".keras":
        raise InputError(
            "Models are saved as `.keras` files. Keras's own `load_model` reads others, such as `.h5`, after "
            "`import keras_trt`; weights alone go into a model by `load_weights`. "
            f"Received: path={str(path)!r}"
        )
    if not path.parent.is_dir():
        raise ModelError(f"There is no folder {str(path.parent)!r}. Create it first.")
    return path
