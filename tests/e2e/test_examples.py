"""The examples do what their README says: quickly here, in full in `tox -e examples`."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import keras_trt
from examples import fashion, results, run_all

EXAMPLES = Path(run_all.__file__).parent
README = (EXAMPLES / "README.md").read_text()
SHARED = {"results.py", "fashion.py", "run_all.py"}


def run(tmp_path: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script as a user calls it, in an empty folder."""
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def lacking(name: str) -> str | None:
    """What brings that which an example needs and this machine has not."""
    brings = {
        "callbacks_only": (fashion.FOLDER.exists(), "apt install dataset-fashion-mnist"),
        "transfer_learning": (fashion.FOLDER.exists(), "apt install dataset-fashion-mnist"),
        "speech_commands": (shutil.which("espeak-ng"), "apt install espeak-ng"),
        "text_classifier": (Path("/usr/share/games/fortunes").exists(), "apt install fortunes"),
        "ray_batch": (importlib.util.find_spec("ray"), "pip install 'keras-trt[ray]'; `tox -e ray` runs it"),
    }
    here, command = brings.get(name, (True, None))
    return None if here else command


def check_road(printed: str, folder: Path) -> None:
    """Half a point is the goal of a full run; so little training differs from processor to processor."""
    assert ("Goal met" in printed) != ("Goal not met by this quick run" in printed), printed[-2000:]
    rows = re.findall(r"^│ (\S.*?) +│ +(\d+\.\d+) %", printed, re.M)
    for kind in ("float", "PTQ", "QAT", "pruned", "exported"):
        assert any(kind in row for row, _ in rows), rows
    exported = next(i for i, (row, _) in enumerate(rows) if row.startswith("exported"))
    (_, trained), (_, written) = rows[exported - 1 : exported + 1]
    assert float(written) == pytest.approx(float(trained), abs=5)  # points; it is the same network
    assert list((folder / "build" / "examples").glob("*.bundle"))


# TF-MOT and Ray change the process that they are in. The others are spared the start of one, the
# builder, and the measuring of latencies, for which each model is traced once more.
AS_A_USER = ("quickstart", "tfmot_migration", "ray_batch")
ELSEWHERE = (*AS_A_USER, "old_example")  # its own test is in test_old_example.py, for both Kerases


@pytest.mark.parametrize("name", AS_A_USER)
def test_a_quick_run_as_a_user_calls_it_walks_the_whole_road(name, tmp_path):
    if command := lacking(name):
        pytest.skip(command)
    done = run(tmp_path, name, "--quick")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    check_road(done.stdout, tmp_path)


@pytest.mark.parametrize("name", [name for name in run_all.EXAMPLES if name not in ELSEWHERE])
def test_a_quick_run_of_an_example_walks_the_whole_road(name, tmp_path, monkeypatch, capfd):
    if command := lacking(name):
        pytest.skip(command)
    script = name.split()[0]
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent), prepend=os.pathsep)  # of the edge's process
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *run_all.EXAMPLES[name], "--quick"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keras_trt, "export", partial(keras_trt.export, engine=None))
    monkeypatch.setattr(importlib.import_module("results"), "milliseconds", lambda model, x: 0.0)
    try:
        importlib.import_module(script).main()
    except SystemExit as end:
        assert not end.code, end.code
    check_road(capfd.readouterr().out, tmp_path)


def test_the_cells_of_the_notebook_run(tmp_path):
    """In a plain Python; `tox -e notebook` executes it as a notebook."""
    cells = json.loads((EXAMPLES / "quickstart.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=600)
    assert (tmp_path / "digits.bundle" / "model.onnx").exists()


def test_every_example_is_in_its_readme_and_in_what_tox_runs():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    linked = set(re.findall(r"\]\((\w+\.py)\)", README))
    assert linked == scripts - SHARED
    own = {"digits.py", "generate.py"}  # have tests and environments of their own
    assert {f"{name.split()[0]}.py" for name in run_all.EXAMPLES} == scripts - SHARED - own


@pytest.mark.parametrize("name", sorted(run_all.EXAMPLES))
def test_an_example_is_short(name):
    assert len((EXAMPLES / f"{name.split()[0]}.py").read_text().splitlines()) < 150


@pytest.mark.parametrize("validate", [False, True])
def test_settings_are_tried_without_the_test_data(validate):
    options = argparse.Namespace(validate=validate)
    got = results.split(options, list(range(10)), list("abcdefghij"), [98, 99], ["y", "z"])
    if validate:
        assert got == (list(range(8)), list("abcdefgh"), [8, 9], ["i", "j"])
    else:
        assert got == (list(range(10)), list("abcdefghij"), [98, 99], ["y", "z"])


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in run_all.EXAMPLES}))
def test_every_example_can_measure_on_data_that_are_not_the_tests(name):
    code = (EXAMPLES / f"{name}.py").read_text()
    assert "split(options, " in code or "options.validate" in code


class Fixed:
    """A model that always answers the same."""

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def predict(self, x, verbose):
        return self.answer

    def predict_on_batch(self, x):
        return self.answer

    def count_params(self) -> int:
        return 250


@pytest.mark.parametrize("exported,message", [(0.896, None), (0.894, "0.60 points below that of 'float'")])
def test_a_goal_that_is_missed_is_exit_code_1_with_a_sentence(exported, message, capsys):
    measured = results.Results("Title", [0], accuracy=lambda predictions: predictions)
    measured.add("float", Fixed(0.9))
    measured.add("exported", Fixed(exported))
    if message is None:
        measured.check()
        assert "Goal met: 'exported' is within 0.5 points of 'float'" in capsys.readouterr().out
    else:
        with pytest.raises(SystemExit, match=message):
            measured.check()


def test_a_quick_run_that_misses_the_goal_says_for_what_the_goal_is(capsys):
    measured = results.Results("Title", [0], accuracy=lambda predictions: predictions)
    measured.add("float", Fixed(0.9))
    measured.add("exported", Fixed(0.5))
    measured.check(quick=True)
    printed = capsys.readouterr().out
    assert "Goal not met by this quick run, it is for full ones: accuracy of 'exported' is 40.00" in printed
    assert "Goal met" not in printed


def test_what_runs_all_says_which_has_failed(tmp_path, monkeypatch, capsys):
    for name, code in (("quickstart", 0), ("ray_batch", 3)):
        (tmp_path / f"{name}.py").write_text(f"import sys; sys.exit({code})")
    shutil.copy(run_all.__file__, tmp_path)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run_all.py"), "quickstart", "ray_batch", "--quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(r"as promised +\d+ s  quickstart\nFAILED \(3\) +\d+ s  ray_batch", done.stdout)
