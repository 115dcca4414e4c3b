"""What `inspect` has seen of a bundle, as tables and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_trt.bundle.manifest import Manifest
from keras_trt.reports import Findings, Table
from keras_trt.runtime.profile import EngineProfile


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


@dataclass(frozen=True)
class BundleReport(Findings):
    """What a bundle holds. Prints as tables.

    Attributes:
        path: The bundle's folder.
        manifest: What it says of itself.
        files: Its files.
        engine: The types that a runner computes in, layer by layer; None where none was asked for.
        notes: Sentences worth reading.
    """

    path: Path
    manifest: Manifest
    files: tuple[BundleFile, ...]
    engine: EngineProfile | None = None
    notes: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        """Whether every file is there, and is the one that was written."""
        return all(file.intact is not False for file in self.files)

    def tables(self) -> Iterable[Table]:
        """Facts, inputs and outputs, files, plans, and what a runner computes."""
        manifest = self.manifest
        yield Table(f"{manifest.name}: {self.path}", ["", "bundle"], self._facts())
        specs = [(*("input",), spec) for spec in manifest.inputs]
        specs += [("output", spec) for spec in manifest.outputs]
        rows: list[list[Any]] = [
            [side, spec.name, _shape(spec.shape), manifest.predicted_dtypes.get(spec.name, spec.dtype)]
            for side, spec in specs
        ]
        yield Table("Inputs and outputs", ["", "name", "shape", "dtype"], rows)
        states = {True: "as written", False: "missing or changed", None: "not checked"}
        rows = [
            [f.name, f.what, "" if f.bytes is None else f"{f.bytes:,}", states[f.intact]] for f in self.files
        ]
        yield Table("Files", ["file", "holds", "bytes", "state"], rows)
        if manifest.plans:
            rows = [
                [p.file, f"{p.kind} {p.version}", ", ".join(p.compute_capabilities), p.os]
                for p in manifest.plans
            ]
            yield Table("Plans", ["plan", "built by", "for", "on"], rows)
        if self.engine is not None:
            yield from self.engine.tables()

    def _facts(self) -> list[list[Any]]:
        manifest, quantized = self.manifest, self.manifest.quantization
        low, usual, high = manifest.batch
        share = quantized.get("int8_mac_share")
        zeros = manifest.sparsity.get("zeros") or {}
        axes = ", ".join(f"{name} {'/'.join(map(str, s))}" for name, s in manifest.axis_sizes.items())
        return [
            ["written by", f"keras-trt {manifest.keras_trt_version}, from a {manifest.keras} model"],
            ["precision", f"{manifest.precision} (opset {manifest.opset})"],
            *([["int8", f"{share:.1%} of the multiply-accumulates"]] if isinstance(share, float) else []),
            *([["layers with zeros", str(len(zeros))]] if zeros else []),
            ["batch", f"min {low}, usual {usual}, max {high}"],
            *([["axes (min/usual/max)", axes]] if axes else []),
        ]


def _shape(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))})"
