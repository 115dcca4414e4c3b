"""Files that a command writes: never the ones that it reads."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from keras_trt.cli.result import UsageError

WRITTEN = ("output", "save", "plot", "write_recipe")
"""The options, of any subcommand, that name what is written."""
READ = (
    "model",
    "bundle",
    "data",
    "calibrate",
    "evaluate",
    "recipe",
    "benchmark",
    "verification",
    "sensitivity",
    "activations",
)
"""Those that name what is read."""


def check_places(options: argparse.Namespace) -> None:
    """Tells before any work that a path is empty, or a file would be replaced that another argument names.

    Args:
        options: What was typed.

    Raises:
        UsageError: An option names nothing, as `-o "$OUT"` where OUT is not set, or a file to write that is
            also read, or that another option writes.

    Example:
        >>> check_places(argparse.Namespace(model="net.keras", save="figures.json"))
    """
    typed = {name: getattr(options, name, None) for name in (*READ, *WRITTEN)}
    for name in (*typed, "into"):
        if getattr(options, name, None) == "":
            raise UsageError(f"{_flag(name)}: a path is needed. Received: ''")
    places = {
        name: os.path.realpath(Path(value).expanduser())
        for name, value in typed.items()
        if isinstance(value, str)
    }
    for written in WRITTEN:
        for name, place in places.items():
            if name != written and places.get(written) == place:
                raise UsageError(f"{_flag(written)} would replace what {_flag(name)} names: '{typed[name]}'")


def _flag(name: str) -> str:
    return name.upper() if name in ("model", "bundle") else f"--{name.replace('_', '-')}"
