"""No command writes over what it reads."""

import argparse

import pytest

from keras_trt.cli import COMMANDS
from keras_trt.cli.parser import command
from keras_trt.cli.places import READ, WRITTEN, check_places
from keras_trt.cli.result import UsageError


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ({"model": "net.keras", "save": "net.keras"}, "--save would replace what MODEL names: 'net.keras'"),
        ({"model": "net.keras", "write_recipe": "x/../net.keras"}, "--write-recipe would replace what MODEL"),
        ({"data": "rows.npz", "save": "rows.npz"}, "--save would replace what --data names"),
        ({"benchmark": "b.json", "output": "./b.json"}, "--output would replace what --benchmark names"),
        ({"save": "a.svg", "plot": "a.svg"}, "--save would replace what --plot names"),
    ],
)
def test_a_file_that_is_read_is_not_written(typed, text):
    with pytest.raises(UsageError, match=text):
        check_places(argparse.Namespace(**typed))


@pytest.mark.parametrize(
    ("typed", "flag"), [("model", "MODEL"), ("bundle", "BUNDLE"), ("output", "--output"), ("into", "--into")]
)
def test_a_path_that_a_shell_left_empty_is_wrong_usage(typed, flag):
    with pytest.raises(UsageError, match=f"^{flag}: a path is needed. Received: ''$"):
        check_places(argparse.Namespace(**{typed: ""}))


def test_links_are_followed_and_other_files_are_fine(tmp_path):
    (tmp_path / "net.keras").touch()
    (tmp_path / "link").symlink_to("net.keras")
    options = argparse.Namespace(model=str(tmp_path / "net.keras"), save=str(tmp_path / "link"))
    with pytest.raises(UsageError, match="--save"):
        check_places(options)
    check_places(argparse.Namespace(model="net.keras", save="b.json", plot=None, backend="b.json"))


def test_every_option_that_names_a_file_is_known():
    files = set()
    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        command(name).add_arguments(parser)
        files |= {
            a.dest
            for a in parser._actions
            if a.metavar in ("FILE", "FOLDER", "MODEL", "BUNDLE") or a.dest == "output"
        }
    assert files - {"into"} == {*READ, *WRITTEN}  # `into` is a cache, in which files have names of ours
