"""Files that may not be read, also where the tests are run by root, who may read all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_a_user_without_rights(path: Path) -> Iterator[None]:
    """While open, this process may not read `path`, whose parents all may enter."""
    path.parent.chmod(0o755)
    mode = path.stat().st_mode
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)
