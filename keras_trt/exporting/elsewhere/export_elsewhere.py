"""The export of a model whose tensors are not TensorFlow's: in a process of its own, checked in this one."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._base.say import say
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Model
from keras_trt._machine.swap import swap_in, sync_folder, working_folder
from keras_trt.bundle import check_target, read_bundle
from keras_trt.compare.other_backend import other_backend_fault
from keras_trt.data.batches import batches
from keras_trt.data.rows import Batches
from keras_trt.data.source import is_arrays
from keras_trt.errors import ExportError, InputError
from keras_trt.exporting.elsewhere.classes import classes_of
from keras_trt.exporting.elsewhere.exchange import ANSWER, MODEL, REQUEST, Answer, Request, read, write
from keras_trt.exporting.preparing.quantized import quantized
from keras_trt.exporting.stages import Stages
from keras_trt.models.save_model import save_model

_START = (  # `-m` and `-c` put the working folder first, whose modules may have names of Python's own
    "import os, sys; sys.path[:] = os.environ['PYTHONPATH'].split(os.pathsep); "
    "from keras_trt.exporting.elsewhere.child import main; main(sys.argv[1])"
)
_PATIENCE = 20.0  # seconds for the other process to tidy up after Ctrl-C


def export_elsewhere(model: Model, path: str | Path, options: dict[str, Any]) -> Any:
    """Exports a model of JAX or PyTorch.

    The model is quantised here, where that is asked for, and goes as a file to a process in which Keras runs
    on TensorFlow. What it reports, warns of and raises comes back; the bundle is put into its place when
    its engine has been compared with the model itself, on its own backend.

    Args:
        model: A built Keras 3 model.
        path: The folder to write.
        options: The other arguments of `export`.

    Returns:
        What `export` returns there.

    Raises:
        KerasTRTError: As `export`.
    """
    flavor, target = check_model(model), check_target(path, options["overwrite"])
    data, options = options.pop("calibration_data"), dict(options)
    held = None if data is None else _as_arrays(flavor, model, data)
    options["data"] = _without_tensors(flavor, options["data"])
    model = quantized(model, options["precision"], held, Stages(options["verbose"]))
    with working_folder(target) as beside:
        answer = _asked(flavor, model, beside / target.name, {**options, "calibration_data": held})
        for category, text in answer.warnings:
            warnings.warn(text, category, stacklevel=3)
        if answer.error is not None:
            raise answer.error
        notes = _compared(flavor, model, beside / target.name, options)
        swap_in(beside / target.name, target, overwrite=options["overwrite"])
        sync_folder(target.parent)
    report = answer.report
    return replace(report, path=target, notes=(*report.notes, *notes))


def _asked(flavor: Flavor, model: Model, path: Path, options: dict[str, Any]) -> Answer:
    """What the other process answers."""
    say(
        f"Keras on {flavor.keras.backend.backend()}: exported in a process of TensorFlow's",
        options["verbose"],
    )
    with tempfile.TemporaryDirectory(prefix="keras_trt_") as folder:
        save_model(model, Path(folder) / MODEL)
        try:
            write(Path(folder), REQUEST, Request(classes_of(flavor, model), str(path), options))
        except (pickle.PicklingError, AttributeError, TypeError) as e:
            raise InputError(
                "The arguments of `export` go to another process for a model of another backend than "
                f"TensorFlow, and one of them cannot: {e}. Received: {sorted(options)}"
            ) from e
        code = _run(Path(folder))
        if not (Path(folder) / ANSWER).is_file():
            raise ExportError(
                f"The process that exports on TensorFlow ended with code {code} and no answer; what it "
                "printed is above. It needs `pip install 'keras-trt[keras]'` in this environment."
            )
        answer: Answer = read(Path(folder), ANSWER)
    return answer


def _run(folder: Path) -> int:
    """Runs the other process to its end, or ends it when this one is interrupted."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    command = [sys.executable, "-c", _START, str(folder)]
    with _ended_with_this(subprocess.Popen(command, env=environment)) as process:
        return process.wait()


@contextmanager
def _ended_with_this(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _as_arrays(flavor: Flavor, model: Model, data: object) -> Batches:
    """Calibration data as batches of arrays, which any process can read."""
    made = batches(flavor, model, data, name="calibration_data")
    to_numpy = flavor.ops.to_numpy
    return Batches([flavor.ops.nest.map_structure(lambda x: np.asarray(to_numpy(x)), x) for x in made])


def _without_tensors(flavor: Flavor, data: Any) -> Any:
    """Data with arrays in the place of the backend's tensors, which another process may not hold."""
    if not is_arrays(data):
        return data
    ops = flavor.ops
    return ops.nest.map_structure(lambda leaf: ops.to_numpy(leaf) if ops.is_tensor(leaf) else leaf, data)


def _compared(flavor: Flavor, model: Model, path: Path, options: dict[str, Any]) -> list[str]:
    """Compares the engine with the model itself, on its own backend; a sentence where that was not done.

    Raises:
        ExportError: They differ by more than rounding explains.
    """
    if not options["verify"] or options["route"] != "onnx":
        return []
    if not all(options[name] is None for name in ("preprocess", "postprocess", "max_drop")):
        return ["Compared with the model on TensorFlow, not on its own backend: it computes more than that."]
    wrong = other_backend_fault(flavor, model, read_bundle(path))
    if wrong is not None:
        raise ExportError(
            f"The engine agrees with Keras on TensorFlow and not with the model on "
            f"{flavor.keras.backend.backend()}: {wrong}. A layer computes something else there; "
            "`verify=False` exports it all the same."
        )
    return []
