"""The files of a bundle, compared with what its manifest says of them."""

from __future__ import annotations

from dataclasses import dataclass

from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import MANIFEST_FILE, PROBE_FILE
from keras_trt.bundle.read import Bundle


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle.

    Attributes:
        name: Its path inside the bundle.
        what: What it holds.
        bytes: Its size; None where it is missing.
        intact: Whether it is the file that was written; None where nothing says what that was.
    """

    name: str
    what: str
    bytes: int | None
    intact: bool | None


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
