"""A report: rows with a title, printed as a table, exported as JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Report:
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

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {"title": self.title, "rows": [dict(row) for row in self.rows], "notes": list(self.notes)}

    def to_json(self, path: Any = None) -> str:
        """The report as JSON text, also written to `path` when one is given."""
        text = json.dumps(self.to_dict(), indent=2)
        if path is not None:
            from pathlib import Path

            Path(path).write_text(text + "\n")
        return text

    def __str__(self) -> str:
        lines = [render(self.title, self.columns, [[row[c] for c in self.columns] for row in self.rows])]
        return "\n".join([*lines, *self.notes])


def render(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A plain text table, as wide as its contents need, up to the terminal or 120 characters."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    out = io.StringIO()
    width = max(Console().width, 120)
    Console(file=out, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines())


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
