"""What the process that exports runs, with Keras on TensorFlow."""

from __future__ import annotations

import functools
import importlib
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.kernels import is_keras_own
from keras_trt._machine.process import alone
from keras_trt.errors import ExportError, KerasTRTError
from keras_trt.exporting.elsewhere.classes import Classes
from keras_trt.exporting.elsewhere.exchange import ANSWER, MODEL, REQUEST, Answer, Request, read, write

_IN_CALL = re.compile(r"encountered when calling (\w+)\.call\(\)")  # as Keras words it


def main(path: str) -> None:
    """Exports what a folder asks for, and leaves the answer there."""
    folder = Path(path)
    with alone(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report, error = _exported(folder)
    told: list[tuple[type[Warning], str]] = [
        (w.category, str(w.message)) for w in caught if issubclass(w.category, UserWarning)
    ]
    write(folder, ANSWER, Answer(report, error, told))


def _exported(folder: Path) -> tuple[Any, BaseException | None]:
    from keras_trt.exporting.export import export
    from keras_trt.models.load_model import load_model

    model = None
    try:
        request: Request = read(folder, REQUEST)
        known = _imported(request.classes)
        # Its Lambdas are those of the process that has just written it, so it may be trusted.
        model = load_model(folder / MODEL, custom_objects=known, compile=False, safe_mode=False)
        return export(model, request.path, **request.options), None
    except KerasTRTError as e:
        return None, type(e)(f"{_blamed(model, str(e))}{e}")
    except Exception as e:
        return None, ExportError(f"{type(e).__name__}: {e}")


def _imported(classes: Classes) -> dict[str, Any]:
    """The user's classes, by the names that the file has for them."""
    imported = {
        name: functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
        for name, (module, attribute) in classes.by_module.items()
    }
    return imported | {name: pickle.loads(value) for name, value in classes.by_value.items()}


def _blamed(model: Any, message: str) -> str:
    """The layer in whose `call` an error was raised, where it is of a class of the user's."""
    raised = _IN_CALL.search(message)
    if model is None or raised is None:
        return ""
    for path, layer in check_model(model).walk(model):
        if type(layer).__name__ == raised[1] and not is_keras_own(type(layer)):
            return (
                f"Layer {path!r} ({raised[1]}) does not compute on TensorFlow, which exports go through. "
                "Write its `call` in `keras.ops`, which every backend has. "
            )
    return ""
