"""The code in the documents runs, and says what the documents say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNIPPETS = [
    pytest.param(code, id=f"{path.name}-{number}")
    for path in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
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


def test_the_readme_has_an_example_of_ten_lines_and_both_commands():
    readme = (ROOT / "README.md").read_text()
    assert "```python" in readme
    assert "tox -e digits" in readme
    assert "tox -e tests" in readme
