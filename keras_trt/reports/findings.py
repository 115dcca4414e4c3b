"""What this library's functions find out: printed as tables, shown in notebooks, written as JSON."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from keras_trt.reports.files import file_at
from keras_trt.reports.table import Table, text_of, wrapped


class Findings:
    """The base of all reports: a frozen dataclass that says by `tables` how it is shown."""

    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """The tables to show, in order."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """The report as plain, JSON-ready data; numbers that are not finite become text."""
        return {name: _plain(value) for name, value in asdict(self).items()}  # type: ignore[call-overload]

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """The report as JSON text, also written to `path` when one is given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            with file_at(path) as file:
                file.write_text(text + "\n", encoding="utf-8")
        return text

    def __str__(self) -> str:
        notes = (line for note in self.notes for line in wrapped(note))
        return "\n".join([*(table.text() for table in self.tables()), *notes])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        notes = (f"<p>{html.escape(note)}</p>" for note in self.notes)
        return "\n".join([*(_html(table) for table in self.tables()), *notes])


@dataclass(frozen=True)
class Report(Findings):
    """What was done, row by row.

    Attributes:
        title: One line.
        rows: One dict per row; the first row's keys are the columns. Values are JSON-ready.
        notes: Sentences printed under the table.

    Example:
        >>> print(report(model))
        >>> report(model).to_json("report.json")
    """

    title: str
    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(self.rows[0]) if self.rows else ()

    def tables(self) -> Iterable[Table]:
        """The one table."""
        yield Table(self.title, self.columns, [[row[c] for c in self.columns] for row in self.rows])


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _html(table: Table) -> str:
    def row(cells: Iterable[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text_of(cell))}</{tag}>" for cell in cells) + "</tr>"

    lines = [row(table.columns, "th"), *(row(cells, "td") for cells in table.rows)]
    return f"<table><caption>{html.escape(table.title)}</caption>{''.join(lines)}</table>"
