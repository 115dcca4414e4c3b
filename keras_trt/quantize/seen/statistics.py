"""What the quantised tensors of a model were in some data, to be put together with that of other data."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from keras_trt._base.arguments import check_path
from keras_trt.errors import InputError
from keras_trt.quantize.seen.histogram import BINS, Histogram
from keras_trt.reports import Table
from keras_trt.reports.files import file_at
from keras_trt.reports.plot import Drawable, Figure, new_figure

_NUMBERS = ("top", "largest", "total", "nonzero", "sum", "squares", "finite", "format")
_SHOWN = 32  # bins of a picture; a divisor of `BINS`


@dataclass(frozen=True)
class Statistics(Drawable):
    """What `observe` has seen of each quantised tensor. Prints as a table.

    `plot` draws how the magnitudes of each are spread, and so does the page of `inspect(bundle).to_html`.

    Attributes:
        names: The tensors, each by its layer's path and its quantiser's name.
        histograms: What was seen of each, in the same order.
        peak: The largest magnitude of the data itself.

    Example:
        >>> keras_trt.quantize.observe(quantized, dataset, verbose=0).save("shard-1.npz")
        >>> seen = keras_trt.quantize.Statistics.load("shard-1.npz")
        >>> quantized = keras_trt.calibrate(quantized, x_train[:256], statistics=seen, verbose=0)
    """

    names: tuple[str, ...]
    histograms: tuple[Histogram, ...]
    peak: float = 0.0

    def tables(self) -> Iterable[Table]:
        """Each tensor: its format, its largest magnitude, its root mean square, its share of zeros."""
        rows = [
            [name, seen.format, seen.largest, math.sqrt(seen.squares / max(seen.total, 1)), _zeros(seen)]
            for name, seen in zip(self.names, self.histograms, strict=True)
        ]
        yield Table("Activations", ["tensor", "format", "largest", "rms", "zeros"], rows)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, with the magnitudes counted in a few bins; `save` keeps all of them."""
        return {
            "peak": self.peak,
            "activations": [
                {
                    "tensor": name,
                    "format": seen.format,
                    "largest": seen.largest,
                    "zeros": _zeros(seen),
                    "limit": seen.top,
                    "counts": [int(n) for n in seen.counts.reshape(_SHOWN, -1).sum(axis=1)],
                }
                for name, seen in zip(self.names, self.histograms, strict=True)
            ],
        }

    def _figure(self) -> Figure:
        """How the magnitudes of each tensor are spread; their numbers on a logarithmic scale."""
        columns, rows = 4, max(-(-len(self.names) // 4), 1)
        figure = new_figure("Statistics.plot", figsize=(10, 1.6 * rows + 0.5))
        for i, one in enumerate(self.to_dict()["activations"]):
            axes = figure.add_subplot(rows, columns, i + 1)
            edges = [(one["limit"] or 1.0) * bin / _SHOWN for bin in range(_SHOWN + 1)]
            axes.stairs(one["counts"], edges, fill=True)
            axes.set_yscale("symlog")
            axes.set_title(f"{one['tensor']} ({one['format']})", fontsize="x-small")
            axes.set_yticks([])
            axes.tick_params(labelsize="x-small")
        return figure

    def save(self, path: str | PathLike[str]) -> None:
        """Writes a `.npz` file, whole or not at all.

        Raises:
            InputError: Another suffix, or it cannot be written.
        """
        facts = [{name: getattr(seen, name) for name in _NUMBERS} for seen in self.histograms]
        text = json.dumps({"names": self.names, "peak": self.peak, "histograms": facts})
        with file_at(_npz(path)) as file, file.open("wb") as opened:
            counts = np.stack([seen.counts for seen in self.histograms]) if facts else np.zeros((0, BINS))
            np.savez_compressed(opened, counts=counts, facts=np.array(text))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Statistics:
        """Reads what `save` has written.

        Raises:
            InputError: No such file, or another one.
        """
        file = _npz(path)
        try:
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as read:
                counts, facts = read["counts"], json.loads(str(read["facts"]))
            each = zip(counts, facts["histograms"], strict=True)
            histograms = tuple(Histogram(row, **{n: one[n] for n in _NUMBERS}) for row, one in each)
            return cls(tuple(map(str, facts["names"])), histograms, float(facts["peak"]))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as e:
            raise InputError(f"No statistics of `observe` at '{path}': {type(e).__name__}: {e}") from e


def read_statistics(given: object) -> tuple[Statistics, ...]:
    """Statistics, or files of them, one or several.

    Raises:
        InputError: Something else.
    """
    several = given if isinstance(given, list | tuple) else (given,)
    read = []
    for one in several:
        if not isinstance(one, Statistics | str | PathLike):
            raise InputError(
                "`statistics` must be what `quantize.observe` gives, or files of it. "
                f"Received: {type(one).__name__}"
            )
        read.append(one if isinstance(one, Statistics) else Statistics.load(one))
    return tuple(read)


def merge(names: Sequence[str], histograms: Iterable[Histogram], others: Iterable[Statistics]) -> None:
    """Counts in histograms of these tensors what others have seen of them, too.

    Raises:
        InputError: The others are of another model.
    """
    mine = list(histograms)
    for other in others:
        formats = [seen.format for seen in mine] == [seen.format for seen in other.histograms]
        if other.names != tuple(names) or not formats:
            different = sorted(set(names) ^ set(other.names))[:5] or "their order or number formats"
            raise InputError(
                "`statistics` are of another model, or of this one quantised otherwise. "
                f"Not in both: {different}"
            )
        for seen, theirs in zip(mine, other.histograms, strict=True):
            seen.merge(theirs)


def _zeros(seen: Histogram) -> float:
    return (seen.total - seen.nonzero) / max(seen.total, 1)


def _npz(path: str | PathLike[str]) -> Any:
    given = check_path(path).expanduser()
    if given.suffix != ".npz":
        raise InputError(f"Statistics are kept in `.npz` files. Received: '{given}'")
    return given
