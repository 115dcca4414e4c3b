"""The code in the documents runs, and says what the documents say."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNIPPETS = [
    pytest.param(code, id=f"{path.name}-{number}")
    for path in sorted(ROOT.glob("docs/*.md"))  # the README's is run below
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
