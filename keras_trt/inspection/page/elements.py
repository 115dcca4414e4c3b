"""The elements that the page is made of. All text goes through `html.escape`: names come from files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

_CLASSES = ("int8", "fp8", "int4")
_JOINTS = re.compile(r"(?<=[/:._])(?=[^/:._])")


def text(value: object) -> str:
    """A value as text: numbers to four digits, nothing for None."""
    if value is None:
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def label(name: str) -> str:
    """A name that breaks between its words where it is too long for its place."""
    return "<wbr>".join(escape(word) for word in _JOINTS.split(name))


def heading(title: str, body: str, note: str = "") -> str:
    """A section; none without a body."""
    lead = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>" if body else ""


def cards(facts: Iterable[tuple[str, object]]) -> str:
    """A few numbers, large."""
    shown = "".join(
        f'<div class="card"><b>{text(value)}</b><span>{escape(name)}</span></div>' for name, value in facts
    )
    return f'<div class="cards">{shown}</div>'


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table, whose rows become blocks on a narrow screen; cells are values or `Markup`."""
    if not rows:
        return ""
    numeric = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(columns))
    ]
    head = "".join(f"<th{_n(n)}>{escape(c)}</th>" for c, n in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_n(n)}{_of(c)}>{_cell(value)}</td>"
            for c, n, value in zip(columns, numeric, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    rows_of = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll"><table class="rows">{rows_of}</table></div>'


class Markup(str):
    """Text that is HTML already."""


def tags(names: Iterable[str]) -> Markup:
    """Words in frames."""
    return Markup(
        "".join(
            f'<span class="tag {name if name in _CLASSES else ""}">{escape(name)}</span>' for name in names
        )
    )


def verdict(good: bool, words: str) -> Markup:
    """Words in the colour of a good or a bad result, and with a mark for who sees no colours."""
    return Markup(f'<span class="{"good" if good else "bad"}">{"✓" if good else "✗"} {escape(words)}</span>')


def bars(rows: Sequence[tuple[str, float]], *, logarithmic: bool = False, percent: bool = False) -> str:
    """A bar for each row, as long as its number is large, as its share of 1, or as its logarithm is."""
    values = [value for _, value in rows if math.isfinite(value) and value > 0]
    if not values:
        return ""
    top = max(1.0, *values) if percent else max(values)
    lowest = max(min(values), max(values) * 1e-6)

    def length(value: float) -> float:
        if not math.isfinite(value) or value <= 0:
            return 0.0
        if not logarithmic or top == lowest:
            return value / top
        decades = max(math.log10(top / lowest), 1.0)
        return max(1 + math.log10(value / top) / (1.25 * decades), 0.0)

    shown = "".join(
        f'<span>{label(name)}</span><div><i style="width:{100 * length(value):.1f}%"></i></div>'
        f"<b>{f'{value:.1%}' if percent else text(float(value))}</b>"
        for name, value in rows
    )
    return f'<div class="bars">{shown}</div>'


def histogram(counts: Sequence[float], caption: str, limit: float, *, lowest: float | None = None) -> str:
    """A histogram up to `limit`, from minus that or from `lowest`, as inline SVG."""
    left = -limit if lowest is None else lowest
    width, height = 164, 64
    top = max([*counts, 1])
    step = width / max(len(counts), 1)
    columns = "".join(
        f'<rect class="bar" x="{i * step:.1f}" y="{height - height * n / top:.1f}" '
        f'width="{max(step - 0.5, 0.5):.1f}" height="{height * n / top:.1f}"/>'
        for i, n in enumerate(counts)
        if n
    )
    return (
        f'<figure><svg viewBox="0 0 {width} {height + 16}" role="img" aria-label="{escape(caption)}">'
        f"{columns}"
        f'<path class="axis" d="M0 {height}H{width}"/><text x="0" y="{height + 13}">{left:.3g}</text>'
        f'<text x="{width}" y="{height + 13}" text-anchor="end">{limit:.3g}</text></svg>'
        f"<figcaption>{label(caption)}</figcaption></figure>"
    )


def curve(xs: Sequence[float], ys: Sequence[float], caption: str) -> str:
    """A curve through points as inline SVG, its ends at the smallest and largest x."""
    width, height = 164, 64
    left, right = min(xs, default=0.0), max(xs, default=1.0)
    low, high = min([*ys, 0.0]), max([*ys, 1e-12])
    across, up = width / ((right - left) or 1), height / ((high - low) or 1)
    places = [f"{across * (x - left):.1f},{height - up * (y - low):.1f}" for x, y in zip(xs, ys, strict=True)]
    return (
        f'<figure><svg viewBox="-2 -2 {width + 4} {height + 20}" role="img" aria-label="{escape(caption)}">'
        f'<path class="axis" d="M0 {height}H{width}"/><polyline class="curve" points="{" ".join(places)}"/>'
        f'<text x="0" y="{height + 13}">{left:.3g}</text>'
        f'<text x="{width}" y="{height + 13}" text-anchor="end">{right:.3g}</text></svg>'
        f"<figcaption>{label(caption)}, at most {high:.3g}</figcaption></figure>"
    )


def _of(column: str) -> str:
    return f' data-of="{escape(column)}"' if column else ""


def _n(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _cell(value: object) -> str:
    return value if isinstance(value, Markup) else text(value)
