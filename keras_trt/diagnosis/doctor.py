"""Looks at this machine: what is installed, what is missing, and what would run bundles."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from keras_trt.bundle.read import read_bundle
from keras_trt.diagnosis.doctor_report import DoctorReport, Installed, Tried
from keras_trt.diagnosis.packages import packages
from keras_trt.diagnosis.small_bundle import WIDTH, is_right, write_small_bundle
from keras_trt.engine.machine.gpu import gpus
from keras_trt.errors import KerasTRTError
from keras_trt.measuring.machine import machine
from keras_trt.runtime.choosing.select import GPU_RUNNERS
from keras_trt.runtime.loading import load
from keras_trt.runtime.runners.cpu import ONNX_RUNNERS

_APART = (
    "`[ray]` and `[triton]` do not share an environment: pyarrow, which Ray reads data with, needs NumPy 2, "
    "and nvidia-pytriton needs NumPy below 2. Install each into an environment of its own."
)
_ASKED = "asked for"  # which says nothing here
_NO_METADATA = (
    "The packages that are needed are not known: keras-trt runs from a checkout that is not installed. "
    "Install it with: pip install -e ."
)


def doctor(bundle: str | Path | None = None) -> DoctorReport:
    """Tells what is installed here and within the versions that were run, and tries every runner.

    Needs no TensorFlow, loads none, and changes nothing.

    Args:
        bundle: A bundle to try the runners on; None takes one of a single operator.

    Returns:
        A report, printable as tables: packages with the commands that install them, runners with the reason
        where one does not work, the one that `load` would choose, and the machine.

    Raises:
        BundleError: No whole bundle at `bundle`.

    Example:
        >>> keras_trt.doctor().chosen
        'openvino'
    """
    with tempfile.TemporaryDirectory() as folder:
        small = write_small_bundle(Path(folder) / "relu.bundle") if bundle is None else None
        path = Path(bundle) if small is None else small  # type: ignore[arg-type]
        read_bundle(path)
        runners = tuple(_tried(path, name, small is not None) for name in (*GPU_RUNNERS, *ONNX_RUNNERS))
        chosen, why = _chosen(path)
    installed = packages()
    return DoctorReport(
        machine=machine(),
        packages=installed,
        runners=runners,
        chosen=chosen,
        why=why,
        tried_on="a bundle of one operator" if small is not None else str(path),
        notes=(*_missing(installed), _APART, *(() if installed else (_NO_METADATA,))),
    )


def _tried(path: Path, name: str, known: bool) -> Tried:
    """One runner, on a bundle whose answers are known or that brings its own."""
    if name in GPU_RUNNERS and not gpus():
        return Tried(name, False, "needs an NVIDIA GPU and its driver; none is here")
    try:
        with load(path, name, cache=False, verbose=0) as engine:
            x = np.linspace(-1, 1, 2 * WIDTH, dtype=np.float32).reshape(2, WIDTH)
            if known and not is_right(x, engine.predict_on_batch(x)):
                return Tried(name, False, "it computes relu wrongly")
            return Tried(name, True, " ".join(engine.runner.reason.removeprefix(_ASKED).split()))
    except KerasTRTError as e:
        return Tried(name, False, " ".join(str(e).split()))


def _chosen(path: Path) -> tuple[str | None, str]:
    try:
        with load(path, cache=False, verbose=0) as engine:
            return engine.runner.name, f"{' '.join(engine.runner.reason.split())}."
    except KerasTRTError as e:
        return None, " ".join(str(e).split())


def _missing(installed: tuple[Installed, ...]) -> list[str]:
    """What the extras of which nothing or not all is here would need."""
    extras = dict.fromkeys(extra for package in installed for extra in package.extras)
    lacking = {extra: [p.package for p in installed if extra in p.extras and not p.fits] for extra in extras}
    return [
        f"For `[{extra}]`: {', '.join(names)} missing: pip install 'keras-trt[{extra}]'"
        for extra, names in lacking.items()
        if names
    ]
