"""docs/adding.md can be followed: each walk, on a copy of the package, gives what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text()
WALKS = dict(zip(*[iter(re.split(r"^## (.+)\n", PAGE, flags=re.M)[1:])] * 2, strict=True))
BLOCK = re.compile(r'^```(?:python|text) title="([^"\n]+)"\n(.*?)^```$', re.M | re.S)


def follow(walk: str, package: Path, steps: bool) -> str:
    """Takes the steps of a walk in a copy of the package; returns what is to be tried."""
    shutil.copytree(ROOT / "keras_trt", package / "keras_trt", ignore=shutil.ignore_patterns("__pycache__"))
    trial = ""
    for title, code in BLOCK.findall(walk):
        if title == "try it":
            trial = code
        elif steps and title.startswith("in "):
            name, line = title.removeprefix("in ").split(", below: ")
            text = (package / name).read_text()
            assert f"{line}\n" in text, f"{name} has no line {line!r}"
            (package / name).write_text(text.replace(f"{line}\n", f"{line}\n{code}", 1))
        elif steps:
            assert not (package / title).exists()
            (package / title).write_text(code)
    return trial


@pytest.mark.parametrize("steps", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", WALKS)
def test_a_walk_gives_what_it_says_and_only_then(name, steps, tmp_path):
    trial = follow(WALKS[name], tmp_path, steps)
    done = subprocess.run(
        [sys.executable, "-c", trial],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode == 0) == steps, done.stderr[-2000:]


def test_all_six_are_there():
    assert [name.split()[1] for name in WALKS] == ["layer", "rule", "pass", "handler", "runner", "callback"]
