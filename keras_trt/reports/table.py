"""Tables of plain text that fit the terminal."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

_MARGIN = 4  # around the only column of a table
_NARROWEST = 60


@dataclass(frozen=True)
class Table:
    """Rows under a title.

    Attributes:
        title: One line.
        columns: The names of the columns.
        rows: A value for each column; numbers are shown to four digits.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def text(self) -> str:
        """The table as plain text that fits the terminal."""
        return render(self.title, self.columns, self.rows)


def render(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A plain text table that fits the terminal, 80 characters where there is none.

    Columns for which there is no room, the widest first, go on lines of their own below each row.
    """
    cells = [[text_of(value) for value in row] for row in rows]
    below = _without_room(columns, cells)
    if not below:
        return "\n".join(_table(title, columns, rows, cells))
    for row in cells:
        row[0] = "\n".join(_folded(row[0], _width() - _MARGIN))
    lines = _table(title, columns, rows, cells, below)
    heights = [row[0].count("\n") + 1 for row in cells]
    at = len(lines) - sum(heights)
    shown = lines[:at]
    for row, height in zip(cells, heights, strict=True):
        shown += lines[at : at + height]
        at += height
        more = [f"{columns[i]}: {row[i]}" for i in sorted(below) if row[i]]
        shown += wrapped("; ".join(more), indent="      ") if more else []
    return "\n".join(shown)


def _table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    cells: Sequence[Sequence[str]],
    without: Collection[int] = (),
) -> list[str]:
    """The lines of the table without some columns; a row then takes as many lines as its first cell."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # plain: brackets in a layer's name are no markup

    table = Table(box=box.SIMPLE_HEAD)
    indices = [i for i in range(len(columns)) if i not in without]
    for i in indices:
        numeric = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        justify: Any = "right" if numeric else "left"
        # A name in two pieces is no name; the text beside it has the other half to fold in.
        whole = bool(without) or (
            i == 0 and 2 * max((cell_len(row[0]) for row in cells), default=0) <= _width()
        )
        table.add_column(Text(columns[i]), justify=justify, overflow="fold", no_wrap=whole)
    for row in cells:
        table.add_row(*(Text(row[i]) for i in indices))
    out = io.StringIO()
    Console(file=out, width=_width(), color_system=None).print(table)
    lines = out.getvalue().rstrip().splitlines() if indices else []
    return [*wrapped(title), *(line.rstrip() for line in lines)]


def _without_room(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> set[int]:
    """The columns to leave out, the widest first, so that a table fits; never the first of them.

    Two columns, a name and what is to be said of it, fit once the second is folded.
    """
    from rich.cells import cell_len

    sizes = [max(map(cell_len, (column, *(row[i] for row in cells)))) for i, column in enumerate(columns)]
    left_out: set[int] = set()
    while len(columns) > max(len(left_out) + 1, 2):
        indices = [i for i in range(len(columns)) if i not in left_out]
        if sum(sizes[i] + 3 for i in indices) + 1 <= _width():  # a space on each side and one between
            break
        left_out.add(max(indices[1:], key=lambda i: sizes[i]))
    return left_out


def wrapped(text: str, indent: str = "") -> list[str]:
    """The lines of a text, as wide as the terminal."""
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, _width(), initial_indent=indent, subsequent_indent=indent, **options) or [""]


def _folded(text: str, width: int) -> list[str]:
    from rich.cells import cell_len

    lines = [""]
    for letter in text:
        if cell_len(lines[-1] + letter) > width:
            lines.append("")
        lines[-1] += letter
    return lines


def _width() -> int:
    from rich.console import Console

    return max(Console().width, _NARROWEST)


def text_of(value: object) -> str:
    """A cell's text."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split("\n"))
