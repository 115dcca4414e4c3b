"""Data from files: `.npy` and `.npz`, never pickles."""

from __future__ import annotations

import zipfile
from typing import Any

from keras_trt._base.arguments import check_path
from keras_trt.errors import InputError

TARGETS = "y"
_BEGINNINGS = (b"\x93NUMPY", b"PK")  # of anything else, `np.load` says that it is a pickle
_ONLY = ("arr_0", "x")  # what `numpy.savez` calls an array without a name, and Keras's word for inputs
HELP = f".npy, or .npz with an array for each input by its name (or one array), and targets as `{TARGETS}`"


def read_data(path: str, *, targets: bool = False) -> Any:
    """Inputs, or (inputs, targets), of a file.

    Args:
        path: A `.npy` file with the only input, or a `.npz` file with an array for each input by its name;
            the array `y` holds targets. A file that holds `x`, or one array only, is of one input.
        targets: Whether to return targets, too.

    Raises:
        InputError: No such file, another kind of file, damaged, with Python objects inside, or no targets.
    """
    import numpy as np

    file = check_path(path, "data").expanduser()
    try:
        if file.suffix not in (".npy", ".npz"):
            raise InputError(f"Data is read from .npy and .npz files. Received: '{file}'")
        with file.open("rb") as opened:  # `np.load` itself would leave a damaged file open
            if not opened.read(6).startswith(_BEGINNINGS):
                raise InputError(f"The data `{file}` cannot be read: it holds no arrays of NumPy's.")
            opened.seek(0)
            loaded = np.load(opened, allow_pickle=False)
            x, y = (loaded, None) if isinstance(loaded, np.ndarray) else _of_archive(dict(loaded))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as e:
        if isinstance(e, InputError):
            raise
        raise InputError(f"The data `{file}` cannot be read: {e}") from e
    if not targets:
        return x
    if y is None:
        raise InputError(f"The data `{file}` holds no targets: save them in a .npz file as `{TARGETS}`.")
    return x, y


def _of_archive(arrays: dict[str, object]) -> tuple[Any, Any]:
    y, inputs = arrays.get(TARGETS), {name: array for name, array in arrays.items() if name != TARGETS}
    if not inputs:
        raise InputError("A .npz file with no array of inputs was given.")
    if len(inputs) == 1 and next(iter(inputs)) in _ONLY:
        return next(iter(inputs.values())), y
    return inputs, y
