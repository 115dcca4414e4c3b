"""Looks into a bundle: what it says of itself, and whether its files are those that were written."""

from __future__ import annotations

from pathlib import Path

from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import MANIFEST_FILE, PROBE_FILE
from keras_trt.bundle.read import Bundle, read_bundle
from keras_trt.inspection.bundle_report import BundleFile, BundleReport
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
        >>> print(inspect("digits.bundle"))  # doctest: +SKIP
    """
    opened = read_bundle(bundle, verify=False, plans=False)
    notes: list[str] = []
    engine = None
    if runner is not None:
        with load(opened.path, runner, verbose=0) as model:
            engine = model.inspect()
            notes.append(f"It runs on {model.runner.name}: {' '.join(model.runner.reason.split())}")
    return BundleReport(opened.path, opened.manifest, files_of(opened), engine, tuple(notes))


def files_of(bundle: Bundle) -> tuple[BundleFile, ...]:
    """Every file that the manifest names, compared with what it says of them."""
    manifest = bundle.manifest
    files = [
        _file(bundle, MANIFEST_FILE, "what the bundle says of itself", None),
        _file(bundle, manifest.onnx_file, "graph", manifest.onnx_sha256),
        *(_file(bundle, name, "weights", digest) for name, digest in manifest.external_data.items()),
    ]
    if manifest.probe_sha256 is not None:
        files.append(_file(bundle, PROBE_FILE, "rows with known answers", manifest.probe_sha256))
    files += [_file(bundle, stamp.file, f"plan of {stamp.kind}", stamp.sha256) for stamp in manifest.plans]
    return tuple(files)


def _file(bundle: Bundle, name: str, what: str, digest: str | None) -> BundleFile:
    path = bundle.path / name
    try:
        size = path.stat().st_size
        intact = None if digest is None else sha256_of(path) == digest
    except OSError:
        return BundleFile(name, what, None, False)
    return BundleFile(name, what, size, intact)
