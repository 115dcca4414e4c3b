"""Looks into a bundle: what it says of itself, and whether its files are those that were written."""

from __future__ import annotations

from pathlib import Path

from keras_trt.bundle.read import read_bundle
from keras_trt.inspection.bundle_report import BundleReport
from keras_trt.inspection.files import files_of
from keras_trt.runtime.loading import load


def inspect(bundle: str | Path, *, runner: str | None = None) -> BundleReport:
    """Tells what a bundle holds. Needs no TensorFlow.

    Args:
        bundle: The folder that `export` wrote.
        runner: Also load it, with `"auto"` or a runner by its name (see `load`), and tell the types that each
            layer computes in there.

    Returns:
        A report, printable as tables; `intact` says whether all files are the ones that were written, and
        `to_json` writes the whole manifest with it.

    Raises:
        BundleError: No bundle there, or its graph is missing.
        RunnerError: The runner that was asked for cannot run it, or does not tell.

    Example:
        >>> print(keras_trt.inspect("digits.bundle"))
    """
    opened = read_bundle(bundle, verify=False, plans=False)
    notes: list[str] = []
    engine = None
    if runner is not None:
        with load(opened.path, runner, verbose=0) as model:
            engine = model.inspect()
            notes.append(f"It runs on {model.runner.name}: {' '.join(model.runner.reason.split())}")
    return BundleReport(opened.path, opened.manifest, files_of(opened), engine, tuple(notes))
