"""The parser of the command line, made of the subcommands' files."""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from typing import Any, NoReturn, Protocol

from keras_trt.cli import COMMANDS
from keras_trt.cli.result import Result


class Adding(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Adds an argument."""


class Command(Protocol):
    """The module of a subcommand. It imports what it needs when it runs, so that `--help` is fast."""

    SUMMARY: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds what the subcommand takes."""

    def run(self, options: argparse.Namespace) -> Result:
        """Does the work."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is a `--help` away."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses; what a subcommand does not know is its error, not the whole command's."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        """Ends the process with exit code 2."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}. See: {self.prog} --help\n")


def command(name: str) -> Command:
    """The module of a subcommand."""
    module: Any = importlib.import_module(f"keras_trt.cli.commands.{name}")
    return module


def make_parser() -> argparse.ArgumentParser:
    """The whole parser; what it parses holds `command`, the subcommand's name."""
    parser = Parser(
        prog="keras-trt",
        description="Prune, quantise and export Keras models to TensorRT engines.",
        epilog="Exit codes: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = command(name)
        added = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=textwrap.fill(f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.", 79),
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_common(added.add_argument_group("output"))
        module.add_arguments(added)
    return parser


def add_common(parser: Adding) -> None:
    """Adds what every subcommand takes."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


class _Version(argparse.Action):
    """Shows the version, looked up only when it is asked for: that takes as long as the rest of `--help`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib import metadata

        try:
            version = metadata.version("keras-trt")
        except metadata.PackageNotFoundError:
            version = "of a checkout that is not installed"
        sys.stdout.write(f"keras-trt {version}\n")
        parser.exit()
