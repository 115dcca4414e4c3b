"""The parser knows every command line that the documents and the helps show."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from keras_trt.bundle.plan_stamp import PLAN_KINDS
from keras_trt.cli import COMMANDS
from keras_trt.cli.commands import build, export, plan, triton
from keras_trt.cli.parser import command, make_parser
from keras_trt.placement.schemes import SCHEMES
from keras_trt.placement.shape_rules import PLACEMENTS
from keras_trt.serving import repository

ROOT = Path(__file__).parent.parent.parent
SHOWN = [
    line.strip()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("keras-trt ")
]


@pytest.mark.parametrize("line", [*SHOWN, *(command(name).EXAMPLE for name in COMMANDS)])
def test_what_is_shown_can_be_typed(line):
    typed = re.search(r"keras-trt ([^|)\"#]*)", line)[1]
    options = make_parser().parse_args(shlex.split(typed))
    assert options.command in COMMANDS


def test_the_documents_show_most_of_them():
    assert len(SHOWN) >= 7
    page = (ROOT / "docs" / "command_line.md").read_text()
    assert [name for name in COMMANDS if f"| `{name} " not in page] == []


def test_every_file_of_a_subcommand_is_named_and_the_other_way_round():
    files = {path.stem for path in (ROOT / "keras_trt" / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert files == set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "option", "taken"),
    [
        (plan, "--scheme", SCHEMES),
        (plan, "--placement", PLACEMENTS),
        (export, "--placement", PLACEMENTS),
        (export, "--engine", ("auto", *PLAN_KINDS, "none")),
        (build, "--engine", ("auto", *PLAN_KINDS)),
        (triton, "--backend", repository._BACKENDS),
    ],
)
def test_an_option_has_the_choices_of_its_function(command, option, taken):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert set(parser._option_string_actions[option].choices) == set(taken)
