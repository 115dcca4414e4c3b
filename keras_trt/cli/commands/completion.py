"""`keras-trt completion`: what makes a shell complete the command line."""

from __future__ import annotations

import argparse

from keras_trt.cli.result import Result
from keras_trt.cli.shells import SHELLS, script

SUMMARY = "print what makes your shell complete this command: bash, zsh or fish"
EXAMPLE = 'eval "$(keras-trt completion bash)"    # in ~/.bashrc; fish: keras-trt completion fish | source'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `completion` takes."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(options: argparse.Namespace) -> Result:
    """Writes the script."""
    return Result(text=script(options.shell))
