"""Exit codes, streams, and what is printed."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_trt.cli import COMMANDS
from keras_trt.cli import main as subject
from keras_trt.cli.result import Result, UsageError
from keras_trt.errors import InputError
from keras_trt.reports import Report

ROOT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "keras_trt"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


class Fake:
    """A subcommand that ends as a test wants it to."""

    def __init__(self, ending):
        self.ending = ending

    def run(self, options):
        print("by the way")
        if isinstance(self.ending, BaseException):
            raise self.ending
        return self.ending


@pytest.fixture
def ends(run, monkeypatch):
    def call(ending, *arguments):
        monkeypatch.setattr(subject, "command", lambda name: Fake(ending))
        return run("inspect", "x", "--runner", "y", *arguments)

    return call


REPORT = Report("title", ({"layer": "conv", "share": 0.5},))


@pytest.mark.parametrize(
    ("ending", "code", "text"),
    [
        (InputError("`x` must be\n  so."), 1, "error: `x` must be so."),
        (
            InputError("`runner` must be so."),
            2,
            "error: --runner: `runner` must be so. See: keras-trt inspect --help",
        ),
        (InputError("The file `runner` must be so."), 1, "error: The file `runner` must be so."),
        (UsageError("No such thing."), 2, "error: No such thing. See: keras-trt inspect --help"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was left half-written"),
        (MemoryError(), 1, "error: no memory is left for this"),
        (ZeroDivisionError("of 1"), 1, "error: ZeroDivisionError: of 1 (--debug shows where)"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(ends, ending, code, text):
    ended = ends(ending)
    assert ended.code == code
    assert ended.err == f"keras-trt inspect: {text}\n"


def test_debug_shows_the_traceback(ends):
    with pytest.raises(InputError):
        ends(InputError("wrong"), "--debug")
    assert ends(KeyboardInterrupt(), "--debug").code == 130


def test_a_result_is_printed_as_a_table_as_json_or_not_at_all(ends):
    shown = ends(Result(REPORT))
    assert (shown.code, shown.out) == (0, f"by the way\n{REPORT}\n")
    assert ends(Result(REPORT, told=True)).out == "by the way\n"
    as_json = ends(Result(REPORT, told=True), "--json")
    assert json.loads(as_json.out) == REPORT.to_dict()
    assert as_json.err == "by the way\n"
    quiet = ends(Result(REPORT), "--quiet")
    assert (quiet.out, quiet.err) == ("", "by the way\n")
    assert ends(Result(text="words")).out == "by the way\nwords\n"


def test_work_that_ended_in_a_no_is_told_by_the_code(ends):
    assert ends(Result(REPORT, failed=True)).code == 1


@pytest.mark.parametrize(
    "arguments", [[], ["nope"], ["inspect"], ["inspect", "x", "--nope"], ["build", "x", "--js"]]
)
def test_wrong_usage_is_code_2(run, arguments):
    ended = run(*arguments)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith("keras-trt")
    assert ended.err.endswith(" --help\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_an_example_and_fits_80_columns(run, name):
    ended = run(name, "--help")
    assert ended.code == 0
    assert "example:\n  " in ended.out
    assert f"keras-trt {name}" in ended.out.partition("example:")[2]
    summary = ended.out.partition("example:")[0]
    assert max(map(len, summary.splitlines())) <= 80


def test_help_is_fast_and_imports_nothing_heavy():
    """By the processor's time, of five runs the least: other work on the machine only adds to it."""
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [*COMMAND, "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < 0.3
    assert all(name in done.stdout for name in COMMANDS)
    code = (
        "import sys; from keras_trt.cli.parser import make_parser; make_parser(); print(sorted(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert not {"numpy", "rich", "tensorflow", "keras", "onnx", "packaging"} & set(eval(loaded))


def test_the_version_is_told(run):
    ended = run("--version")
    assert ended.code == 0
    assert ended.out.startswith("keras-trt ")


def test_the_command_is_installed_under_its_name():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.entry_points"]["console_scripts"].strip() == "keras-trt = keras_trt.cli.entry:entry"


def test_a_reader_that_leaves_early_is_no_error(bundle):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, "inspect", str(bundle)], env=ENVIRONMENT, **pipes) as reading:
        reading.stdout.close()
        assert reading.wait(60) == 1
        assert reading.stderr.read() == b""


@pytest.mark.parametrize("at_once", ["1", ""])
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_for_a_reader_that_leaves_early_is_no_traceback(option, at_once):
    read, write = os.pipe()
    os.close(read)
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": at_once}
    done = subprocess.run(
        [*COMMAND, option], env=environment, stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""


def test_a_closed_stdout_is_nowhere_to_write_to(bundle):
    command = shlex.join([*COMMAND, "inspect", str(bundle)])
    done = subprocess.run(
        ["sh", "-c", f"{command} >&-"], env=ENVIRONMENT, stderr=subprocess.PIPE, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_while_the_command_line_is_read_is_one_line(run, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_trt.cli.main.make_parser", interrupted)
    assert run("inspect", "net.bundle") == (130, "", "keras-trt: interrupted before anything was done\n")


@pytest.mark.parametrize("module", ["keras_trt.cli.main", "argparse", "keras_trt.cli.commands.triton"])
def test_ctrl_c_while_modules_are_loaded_is_one_line(module):
    """A real signal, sent by a finder that is asked for the module."""
    code = f"""
import os, runpy, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
sys.modules.pop("argparse", None)
sys.meta_path.insert(0, Interrupting())
sys.argv[1:] = ["doctor"]
runpy.run_module("keras_trt", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "keras-trt: interrupted before anything was done\n"


def test_little_is_loaded_before_ctrl_c_is_told_in_one_line():
    """`-S`: without what the packages of this environment load at the start of Python."""
    code = "import sys; before = {*sys.modules}; import keras_trt.cli.entry; print({*sys.modules} - before)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert not {"argparse", "tempfile", "importlib.abc", "importlib.resources"} & eval(done.stdout)


def test_ctrl_c_in_the_middle_of_an_export_leaves_nothing(tmp_path):
    """A real signal to a real process that traces its model."""
    code = """
import sys, keras, keras_trt
x = inputs = keras.Input((32, 32, 8))
for _ in range(60):
    x = keras.layers.Conv2D(8, 3, padding="same")(x)
keras_trt.save_model(keras.Model(inputs, x), "net.keras")
"""
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    working = subprocess.Popen(
        [*COMMAND, "export", "net.keras", "-o", "net.bundle", "--engine", "none"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert working.stdout.read(len("       trace ...")).strip() == "trace ..."
    time.sleep(0.2)
    working.send_signal(signal.SIGINT)
    _, err = working.communicate(timeout=120)
    assert working.returncode == 130, err
    assert err.strip().splitlines()[-1] == "keras-trt export: interrupted; nothing was left half-written"
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
