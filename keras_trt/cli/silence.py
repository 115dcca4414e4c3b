"""TensorFlow's libraries write to stderr when they are loaded, whatever is set; here nobody hears them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def silenced(module: str = "tensorflow") -> Iterator[None]:
    """While open, whoever imports a module has it write nothing to stderr; its errors are raised as ever.

    Args:
        module: A module that is not imported yet.

    Example:
        >>> with silenced():
        ...     import tensorflow
    """
    finder = _Silencing(module)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Silencing:
    """A finder of one module, which the others find for it."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._module:
            return None
        for finder in list(sys.meta_path):
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                _silence(spec.loader)
                return spec
        return None


def _silence(loader: Any) -> None:
    run = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        del loader.exec_module
        with _stderr_held():
            run(module)

    with suppress(AttributeError):  # a loader of somebody else's that takes no attributes
        loader.exec_module = exec_module


@contextmanager
def _stderr_held() -> Iterator[None]:
    """Of the whole process: it is C++ that writes."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
