"""Writes docs/errors.md, every text that the library raises: python -m tests.project.error_texts."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keras_trt import errors

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "keras_trt"
PAGE = ROOT / "docs" / "errors.md"
MARK = "<!-- errors -->\n"
VALUE = "…"


class Text(NamedTuple):
    """An error's text.

    Attributes:
        error: Its class.
        text: With `…` for names and values.
        while_: What the function that raises it does.
        module: The file, within the package.
    """

    error: str
    text: str
    while_: str
    module: str


def template(node: ast.expr) -> str:
    """What is known of a text before it is made."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return VALUE


def raised_by(node: ast.Call) -> tuple[str, str] | None:
    """The class and the text of an error that is made by a call; None for other calls, and unknown texts."""
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name == "wrong_argument" and len(node.args) >= 2:
        return "InputError", f"`{template(node.args[0])}` must be {template(node.args[1])}. Received: {VALUE}"
    if name not in errors.__all__ or not node.args:
        return None
    text = template(node.args[0])
    return (name, text) if re.search(r"\w", text) else None


def texts_in(path: Path) -> Iterator[Text]:
    """Those of a module."""
    module = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text())

    def visit(node: ast.AST, doing: str) -> Iterator[Text]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and (made := raised_by(child)):
                yield Text(*made, doing, module)
            documented = isinstance(child, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(child)
            yield from visit(child, documented.splitlines()[0] if documented else doing)

    yield from visit(tree, (ast.get_docstring(tree) or module).splitlines()[0])


_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\*[]"} | {"<": "&lt;", ">": "&gt;"})


def cell(text: str) -> str:
    """As one cell of a table of Markdown's, code left as it is."""
    pieces = re.split(r"(`[^`]*`)", re.sub(r"\s+", " ", text).strip())
    return "".join(
        (piece if piece.startswith("`") else piece.translate(_MARKS)).replace("|", "\\|") for piece in pieces
    )


def page() -> str:
    """The page, whose head is written by hand."""
    by_class: dict[str, dict[str, Text]] = defaultdict(dict)
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in texts_in(path):
            by_class[text.error].setdefault(cell(text.text), text)
    lines = []
    for name in errors.__all__:
        if by_class[name]:
            lines += [f"## {name}", "", "| Text | While | In |", "|---|---|---|"]
            lines += [
                f"| {text} | {cell(by_class[name][text].while_)} | `{by_class[name][text].module}` |"
                for text in sorted(by_class[name], key=str.lower)
            ]
            lines.append("")
    head = PAGE.read_text().partition(MARK)[0]
    return head + MARK + "\n" + "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
