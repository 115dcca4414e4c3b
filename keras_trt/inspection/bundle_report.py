"""What `inspect` has seen of a bundle, as tables and as plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_trt._base.arguments import check_text, wrong_argument
from keras_trt._base.tensors import shape_text
from keras_trt.bundle.manifest import Manifest
from keras_trt.bundle.read import Bundle
from keras_trt.inspection.files import BundleFile
from keras_trt.inspection.weights import histograms, weight_names
from keras_trt.reports import Table
from keras_trt.reports.files import check_file, file_at
from keras_trt.reports.plot import Drawable, Figure, new_figure
from keras_trt.runtime.profile import EngineProfile

if TYPE_CHECKING:
    from keras_trt.inspection.page.measured import Source

_REPOSITORY = re.compile(r"\w(?:[\w.-]*\w)?", re.ASCII)


@dataclass(frozen=True)
class BundleReport(Drawable):
    """What a bundle holds. Prints as tables.

    `plot` draws the activation ranges, and a histogram of the weights of each layer as they are stored.

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
            [side, spec.name, shape_text(spec.shape), manifest.predicted_dtypes.get(spec.name, spec.dtype)]
            for side, spec in specs
        ]
        yield Table("Inputs and outputs", ["", "name", "shape", "dtype"], rows)
        states = {True: "as written", False: "missing or changed", None: "not checked"}
        rows = [
            [f.name, f.what, "" if f.bytes is None else f"{f.bytes:,}", states[f.intact]] for f in self.files
        ]
        yield Table("Files", ["file", "holds", "bytes", "state"], rows)
        if manifest.plans:
            rows = [[p.file, p.built_by, ", ".join(p.compute_capabilities), p.os] for p in manifest.plans]
            yield Table("Plans", ["plan", "built by", "for", "on"], rows)
        if self.engine is not None:
            yield from self.engine.tables()

    def to_html(
        self,
        path: str | PathLike[str] | None = None,
        *,
        benchmark: Source | None = None,
        verification: Source | None = None,
        sensitivity: Source | None = None,
        activations: Source | None = None,
    ) -> str:
        """The bundle as one page of HTML that loads nothing, in the colours of the reader's system.

        It says what was quantised, pruned, fused and left, and why; ranges, weights, sparsity; how far it was
        from Keras at export; versions and hashes.

        Args:
            path: A file to write, too.
            benchmark: Figures to show: a report of `keras_trt.benchmark`, or the JSON file of one.
            verification: A report of `keras_trt.verify`, or the JSON file of one.
            sensitivity: A report of `quantize.sensitivity` or `prune.sensitivity`, or the JSON file of one.
            activations: What `quantize.observe` has seen of the quantised model, or the JSON file of it.

        Raises:
            BundleError: The weights cannot be read.
            InputError: Not such a report, or nothing can be written at `path`.

        Example:
            >>> keras_trt.inspect("digits.bundle").to_html("report.html")
        """
        from keras_trt.inspection.page.page import page

        target = None if path is None else check_file(path)
        bundle = Bundle(self.path, self.manifest)
        text = page(
            bundle,
            self.files,
            self.notes,
            benchmark=benchmark,
            verification=verification,
            sensitivity=sensitivity,
            activations=activations,
        )
        if target is not None:
            with file_at(target) as file:
                file.write_text(text, encoding="utf-8")
        return text

    def to_card(
        self, path: str | PathLike[str] | None = None, *, repo_id: str = "your-name/your-model"
    ) -> str:
        """The bundle as a model card of the Hugging Face Hub: Markdown with the metadata that the Hub reads.

        Args:
            path: A file to write, too: `README.md` in the bundle's folder, which the Hub shows.
            repo_id: The repository, for the lines that load it.

        Raises:
            InputError: No name of a repository, or nothing can be written at `path`.

        Example:
            >>> card = keras_trt.inspect("digits.bundle").to_card(repo_id="me/digits")
            >>> card.splitlines()[1]
            'library_name: keras-trt'
        """
        from keras_trt.inspection.card import card

        text = card(self.manifest, _check_repository(repo_id), self._facts(), self.notes)
        if path is not None:
            with file_at(check_file(path)) as file:
                file.write_text(text, encoding="utf-8")
        return text

    def _figure(self) -> Figure:
        """The activation ranges, and a histogram of the weights of each layer as they are stored."""
        layer_of = weight_names(self.manifest.record)
        stored = histograms(Bundle(self.path, self.manifest), set(layer_of))
        ranges = self.manifest.quantization.get("ranges") or {}
        columns, rows = 4, -(-len(stored) // 4)
        figure = new_figure("BundleReport.plot", figsize=(10, 1.6 * rows + 0.22 * len(ranges) + 1.5))
        upper, lower = figure.subfigures(2, 1, height_ratios=[0.22 * len(ranges) + 1, 1.6 * rows + 0.5])
        axes = upper.subplots()
        axes.barh(list(ranges), list(ranges.values()))
        axes.invert_yaxis()
        axes.set(xlabel="largest magnitude of the activation")
        axes.tick_params(labelsize="x-small")
        for i, (name, one) in enumerate(stored.items()):
            axes = lower.add_subplot(rows, columns, i + 1)
            edges = [one.limit * (2 * bin / len(one.counts) - 1) for bin in range(len(one.counts) + 1)]
            axes.stairs(one.heights, edges, fill=True)
            axes.set_title(f"{layer_of.get(name) or name} ({one.dtype})", fontsize="x-small")
            axes.set_yticks([])
            axes.tick_params(labelsize="x-small")
        return figure

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


def _check_repository(name: str) -> str:
    """A name as the Hub takes it: `model` or `owner/model`.

    Raises:
        InputError: It is none.
    """
    words = check_text(name, "repo_id").split("/")
    if len(words) > 2 or len(name) > 96 or not all(_REPOSITORY.fullmatch(word) for word in words):
        rule = "`owner/model` of letters, digits, `.`, `_` and `-`, each with a letter or digit at its ends"
        raise wrong_argument("repo_id", rule, name)
    return name
