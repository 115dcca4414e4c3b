"""The code in the documents runs, and says what the documents say."""

from __future__ import annotations

import ast
import configparser
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from keras_trt import errors
from tests.project import error_texts
from tests.project.test_public_api import public_names, returned

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "keras_trt"
SNIPPETS = [
    pytest.param(code, id=f"{path.relative_to(ROOT / 'docs')}-{number}")
    for path in sorted(ROOT.glob("docs/**/*.md"))  # the README's is run below
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL), 1)
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_the_code_in_the_documents_runs(code, tmp_path):
    # A process of its own: what a reader would type, with no state of other tests around it.
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        cwd=tmp_path,
        check=True,
        timeout=300,
    )


def test_the_page_of_errors_has_the_texts_of_the_code():
    written = error_texts.PAGE.read_text()
    assert written == error_texts.page(), "python -m tests.project.error_texts"
    assert len(re.findall(r"^\| .* \| `[\w/]+\.py` \|$", written, re.M)) > 400


def test_every_public_name_is_in_the_reference():
    named = re.findall(
        r"^    options: \{heading: keras_trt\.([\w.]+)\}$", (ROOT / "docs/api.md").read_text(), re.M
    )
    assert sorted(named) == sorted(public_names())


def test_every_class_that_a_public_function_returns_is_in_the_reference_with_its_methods():
    shown = re.findall(
        r"^::: keras_trt\.[\w.]+\.(\w+)\n    options: \{heading: (?:keras_trt|.*members: true)",
        (ROOT / "docs/api.md").read_text(),
        re.M,
    )
    assert set(returned()) - set(shown) == set()


def test_every_class_of_errors_is_on_the_page_about_them_with_its_builtin():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert set(listed) == set(errors.__all__)
    for name, builtin in listed.items():
        assert builtin in [base.__name__ for base in getattr(errors, name).__mro__]


def test_what_the_page_about_errors_quotes_is_what_errors_say():
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    quoted = [
        piece.strip() for row in rows for text in re.findall('"([^"]+)"', row) for piece in text.split("...")
    ]
    strings = " ".join(
        "".join(
            node.value
            for node in ast.walk(literal)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for path in PACKAGE.rglob("*.py")
        for literal in ast.walk(ast.parse(path.read_text()))
        if isinstance(literal, ast.Constant | ast.JoinedStr)
    )
    assert len(quoted) > 8
    assert [text for text in quoted if text not in strings] == []


README = (ROOT / "README.md").read_text()
DISTRIBUTIONS = {"sklearn": "scikit-learn", "keras_trt": "."}  # where it is not the name that is imported


def test_the_example_of_the_readme_needs_nothing_but_its_install_line():
    install = next(line for line in README.splitlines() if line.startswith("    pip install '.["))
    assert README.index(install) < README.index("```python")
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    imported = {
        line.split()[1].split(".")[0] for line in re.findall(r"^(?:import|from) .*", code, re.MULTILINE)
    }
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = re.search(r"\.\[([a-z,]+)\]", install).group(1).split(",")
    lines = [setup["options"]["install_requires"], *(setup["options.extras_require"][e] for e in extras)]
    brought = re.findall(r"^[a-zA-Z][\w.-]*", "\n".join(lines), re.MULTILINE)
    for name in (DISTRIBUTIONS.get(name, name) for name in imported):
        assert name in brought or re.search(rf"[ ']{re.escape(name)}(?=[ '\[]|$)", install), name


def test_the_example_of_the_readme_prints_accuracy_and_the_share_of_int8(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    said = re.search(r"accuracy (0\.\d+|1\.000), (\d+)% of the multiply-accumulates in int8", done.stdout)
    assert float(said.group(1)) > 0.85
    assert int(said.group(2)) > 95


def test_the_readme_has_an_example_of_ten_lines_and_both_commands():
    readme = (ROOT / "README.md").read_text()
    assert "```python" in readme
    assert "tox -e digits" in readme
    assert "tox -e tests" in readme


def test_every_table_of_the_benchmarks_has_the_command_behind_it():
    sections = re.split(r"^## ", (ROOT / "docs" / "benchmarks.md").read_text(), flags=re.M)[1:]
    assert [s.splitlines()[0] for s in sections if "`python -m benchmarks." not in s] == []


DESIGN = (ROOT / "docs" / "design.md").read_text()
MODULES = sorted(PACKAGE.rglob("*.py"))


def named_paths() -> list[str]:
    """What the page names as files and folders of the package."""
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py|/))`", DESIGN)
    rooms = re.findall(r"^\| `([a-z_/]+(?:\.py)?)` \|", DESIGN, re.MULTILINE)
    return sorted({*named, *rooms})


@pytest.mark.parametrize("path", named_paths())
def test_the_design_names_files_that_exist(path):
    assert any((root / path).exists() for root in (PACKAGE, ROOT)), f"docs/design.md: no {path}"


def test_the_design_names_every_room():
    named = set(named_paths())
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms - named == set()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page."""
    section = DESIGN.partition(f"### {heading}\n")[2].partition("\n#")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def test_the_design_says_where_to_start_for_ten_changes():
    changes = rows("Where to make a change")
    assert len(changes) >= 10
    for change, place in changes:
        files = re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py|/))`", place)
        assert files, f"{change}: names no file"


def room_of(module: str, rooms: set[str]) -> str | None:
    names = module.split(".")
    return names[1] if names[0] == "keras_trt" and len(names) > 1 and names[1] in rooms else None


def circles(arrows: set[tuple[str, str]]) -> int:
    """How many rooms come back to themselves, following imports."""
    reached = {(a, b) for a, b in arrows if a != b}
    while more := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= more
    return sum(a == b for a, b in reached)


EVERYWHERE = {"_base", "_machine"}


def measured() -> dict[str, float]:
    """The package as it is, in the rows of the page's table."""
    folders = {path.parent for path in MODULES} - {PACKAGE}
    rooms = {folder.name for folder in folders if folder.parent == PACKAGE}
    lines = {path: len(path.read_text().splitlines()) for path in MODULES}
    own = {folder: [p for p in folder.glob("*.py") if p.name != "__init__.py"] for folder in folders}
    arrows, anys = set(), 0
    for path in MODULES:
        here = path.relative_to(PACKAGE).parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            anys += isinstance(node, ast.Name) and node.id == "Any"
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            arrows |= {(here, room) for name in names if (room := room_of(name, rooms)) and here in rooms}
    return {
        "rooms": len(rooms),
        "modules": len(MODULES),
        "lines of the median module": statistics.median(lines.values()),
        "lines of the longest module": max(lines.values()),
        "files in the largest folder": max(map(len, own.values())),
        "lines in the largest folder": max(sum(lines[p] for p in files) for files in own.values()),
        "pairs of rooms of which one imports the other": sum(len({*a} - EVERYWHERE) == 2 for a in arrows),
        "circles of imports": circles(arrows),
        "`Any` in 1,000 lines": 1000 * anys / sum(lines.values()),
    }


def test_the_size_that_the_design_gives_is_that_of_the_code():
    said = {row: float(today.replace(",", "")) for row, _, today in rows("The size of it")}
    assert said == pytest.approx(measured(), rel=0.1)
