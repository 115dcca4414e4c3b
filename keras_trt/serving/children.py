"""What the processes that PyTriton starts have from this one: where libraries are, who hears a terminal."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keras_trt._machine.deps import require
from keras_trt._machine.process import alone
from keras_trt.errors import MissingDependencyError


def python_library() -> Path:
    """The folder of this Python's shared library; another one of the same version breaks Triton's stub.

    Raises:
        MissingDependencyError: This Python was built without one.

    Example:
        >>> python_library()  # doctest: +SKIP
        PosixPath('/usr/lib/x86_64-linux-gnu')
    """
    name = str(sysconfig.get_config_var("INSTSONAME") or "")
    folders = (sysconfig.get_config_var("LIBDIR"), Path(sys.base_prefix) / "lib")
    for folder in filter(None, folders):
        if ".so" in name and (Path(folder) / name).is_file():
            return Path(folder)
    raise MissingDependencyError(
        "`keras_trt.serve` needs a Python with a shared library, which Triton's Python backend loads. "
        f"Received: {sys.executable}, without {name or 'libpython'} in {[str(f) for f in folders if f]}. "
        "Take a Python of your distribution, conda or uv, or build it with --enable-shared."
    )


@contextmanager
def out_of_the_terminals_group() -> Iterator[None]:
    """Has Triton's server, which PyTriton starts by the package `sh`, not hear what a terminal sends to all.

    It would end by Ctrl-C on its own: while it starts, PyTriton waits a minute for it.
    """
    sh = require("sh", install="keras-trt[triton]")
    with alone():
        sys.modules["sh"] = sh.bake(_new_group=True)
        try:
            yield
        finally:
            sys.modules["sh"] = sh


@contextmanager
def first_on_the_library_path(folder: Path) -> Iterator[None]:
    """Sets what the server that is started meanwhile, and its children, look for libraries by."""
    with alone():
        before = os.environ.get("LD_LIBRARY_PATH")
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (str(folder), before)))
        try:
            yield
        finally:
            if before is None:
                del os.environ["LD_LIBRARY_PATH"]
            else:
                os.environ["LD_LIBRARY_PATH"] = before
