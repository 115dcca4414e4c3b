"""What the quantised tensors of a model were in some data, to be put together with that of other data."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from keras_trt._arguments import check_path
from keras_trt.errors import InputError
from keras_trt.quantize.seen.histogram import BINS, Histogram
from keras_trt.reports.files import file_at

_NUMBERS = ("top", "largest", "total", "nonzero", "sum", "squares", "finite", "format")


@dataclass(frozen=True)
class Statistics:
    """What `observe` has seen of each quantised tensor.

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


def read_statistics(given: Any) -> tuple[Statistics, ...]:
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


def _npz(path: str | PathLike[str]) -> Any:
    given = check_path(path).expanduser()
    if given.suffix != ".npz":
        raise InputError(f"Statistics are kept in `.npz` files. Received: '{given}'")
    return given
