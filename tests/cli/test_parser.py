"""The parser knows every command line that the documents and the helps show."""

import re
import shlex
from pathlib import Path

import pytest

from keras_trt.cli import COMMANDS
from keras_trt.cli.parser import command, make_parser

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
