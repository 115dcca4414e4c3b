"""Reads a bundle from disk and checks that it is whole."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from keras_trt._base.arguments import check_path
from keras_trt._machine.swap import identity, recover
from keras_trt.bundle.checksum import sha256_of
from keras_trt.bundle.manifest import MANIFEST_FILE, Manifest
from keras_trt.bundle.plan_stamp import PlanStamp
from keras_trt.errors import BundleError

_TRIES = 10  # an exporter may replace the bundle between two files that we read


@dataclass(frozen=True)
class Bundle:
    """A whole bundle on disk.

    Attributes:
        path: The bundle's folder.
        manifest: What it holds.
    """

    path: Path
    manifest: Manifest

    @property
    def onnx_path(self) -> Path:
        """The ONNX file."""
        return self.path / self.manifest.onnx_file

    @property
    def plan_paths(self) -> tuple[Path, ...]:
        """The serialized engines, in the order of `manifest.plans`."""
        return tuple(self.plan_path(stamp) for stamp in self.manifest.plans)

    def plan_path(self, stamp: PlanStamp) -> Path:
        """The file of one plan."""
        return self.path / stamp.file

    def read_plan(self, stamp: PlanStamp) -> bytes:
        """The bytes of one plan, the very ones that were written.

        Raises:
            BundleError: The file is missing or was changed.
        """
        path = self.plan_path(stamp)
        try:
            data = path.read_bytes()
        except OSError as e:
            raise BundleError(f"The plan `{path}` cannot be read: {e}") from e
        if stamp.sha256 not in (None, hashlib.sha256(data).hexdigest()):
            raise BundleError(f"The plan `{path}` is damaged: it is not the file that was built.")
        return data


def read_bundle(path: str | Path, *, verify: bool = True, plans: bool = True) -> Bundle:
    """Reads the bundle at `path`.

    Args:
        path: The folder that `export` wrote.
        verify: Compare the SHA-256 of the ONNX file and the plans with the manifest's (about 1 s per 2 GB).
        plans: Whether plans that are missing or damaged are errors, too.

    Raises:
        BundleError: No bundle there, the manifest is damaged, or a file is missing, truncated or changed.

    Example:
        >>> read_bundle("digits.bundle").manifest.inputs  # doctest: +SKIP
    """
    folder = check_path(path).expanduser()
    try:
        return _read_settled(folder, verify, plans)
    except OSError as e:
        raise BundleError(f"The bundle `{folder}` cannot be read: {e}") from e


def _read_settled(folder: Path, verify: bool, plans: bool) -> Bundle:
    """Reads again when another folder has taken the place of the one that was being read."""
    for _ in range(_TRIES - 1):
        seen = identity(folder)
        try:
            return _read(folder, verify, plans)
        except (BundleError, FileNotFoundError):
            if identity(folder) == seen:
                break
    return _read(folder, verify, plans)


def _read(folder: Path, verify: bool, plans: bool) -> Bundle:
    recover(folder)
    if not folder.is_dir():
        what = "is a file, not a bundle folder" if folder.exists() else "does not exist"
        raise BundleError(
            f"No bundle at `{folder}`: the path {what}. Write one with: keras_trt.export(model, path)"
        )
    manifest_path = folder / MANIFEST_FILE
    if not manifest_path.is_file():
        present = sorted(p.name for p in folder.iterdir())[:10]
        raise BundleError(f"`{folder}` is not a bundle: it has no `{MANIFEST_FILE}`. It holds: {present}")
    try:
        manifest = Manifest.from_json(manifest_path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as e:
        raise BundleError(f"`{manifest_path}` is not UTF-8 text: {e}") from e
    except BundleError as e:
        raise BundleError(f"`{manifest_path}`: {e}") from e
    bundle = Bundle(folder, manifest)
    _check_files(bundle, plans)
    if verify:
        _check_digests(bundle, plans)
    return bundle


def _check_files(bundle: Bundle, plans: bool) -> None:
    manifest = bundle.manifest
    stamps = manifest.plans if plans else ()
    graph = [manifest.onnx_file, *manifest.external_data]
    needed = [*graph, *(stamp.file for stamp in stamps)]
    missing = [name for name in needed if not (bundle.path / name).is_file()]
    if missing:
        way_out = "Export the model again." if set(missing) & set(graph) else _again(bundle)
        raise BundleError(f"The bundle `{bundle.path}` is not whole. Missing: {missing}. {way_out}")
    for stamp in stamps:
        size = bundle.plan_path(stamp).stat().st_size
        if size != stamp.bytes:
            raise BundleError(
                f"The bundle `{bundle.path}` is damaged: `{stamp.file}` has {size} bytes, "
                f"its stamp says {stamp.bytes}. {_again(bundle)}"
            )


def _again(bundle: Bundle) -> str:
    return f"Build it again with: keras_trt.build({str(bundle.path)!r})"


def _check_digests(bundle: Bundle, plans: bool) -> None:
    manifest = bundle.manifest
    digests = {manifest.onnx_file: manifest.onnx_sha256, **manifest.external_data}
    stamps = {s.file: s.sha256 for s in manifest.plans if plans and s.sha256 is not None}
    for name, expected in (digests | stamps).items():
        digest = sha256_of(bundle.path / name)
        if digest != expected:
            way_out = f" {_again(bundle)}" if name in stamps else ""
            raise BundleError(
                f"The bundle `{bundle.path}` is damaged: `{name}` is not the file that was exported. "
                f"Received: SHA-256 {digest}, the manifest says {expected}.{way_out}"
            )
