"""Rows from a process of their own, which may end at any of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def rows_of_children(
    arguments: Sequence[str], names: Sequence[str], failed: Callable[[str, str], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One row a name, as `python -m <arguments> <names>` prints them, a line of JSON each.

    A name that ends the process gets `failed(name, why)`, and those behind it another process.
    """
    waiting = list(names)
    while waiting:
        command = [sys.executable, "-m", *arguments, *waiting]
        with tempfile.TemporaryFile("w+") as errors:
            child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
            assert child.stdout is not None
            for line in child.stdout:
                waiting.pop(0)
                yield json.loads(line)
            if child.wait() == 0:
                return
            errors.seek(0)
            last = " ".join(errors.read().strip().splitlines()[-1:])
        yield failed(waiting.pop(0), f"the process ended with code {child.returncode}: {last}")
