"""One way to need an optional package: import it, check its version, or say how to get it."""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import suppress
from importlib import metadata
from types import ModuleType

from packaging.version import Version

from keras_trt.errors import MissingDependencyError


def available(module: str) -> bool:
    """Whether `module` can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def require(module: str, *, install: str, minimum: str | None = None, why: str = "") -> ModuleType:
    """Imports an optional package.

    Args:
        module: The importable name, e.g. `"tensorrt_rtx"`.
        install: What the user types after `pip install`, e.g. `"keras-trt[rtx]"`.
        minimum: Oldest version that works; checked against the installed distribution.
        why: What needs it, put into the error, e.g. `"engine='tensorrt_rtx'"`.

    Raises:
        MissingDependencyError: The package is absent, too old, or fails to import.
    """
    needed_by = f" (needed by {why})" if why else ""
    try:
        imported = importlib.import_module(module)
    except ImportError as e:
        raise MissingDependencyError(
            f"`{module}` cannot be imported{needed_by}: {e}. Install it with: pip install '{install}'"
        ) from e
    if minimum is not None:
        version = getattr(imported, "__version__", None) or version_of(module)
        if version is not None and Version(version.split("-")[0]) < Version(minimum):
            raise MissingDependencyError(
                f"`{module}` {version} is too old{needed_by}; {minimum} or newer is needed. "
                f"Upgrade with: pip install -U '{install}'"
            )
    return imported


def installed(distribution: str) -> str | None:
    """The version of a distribution as pip knows it; None where it is not installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return None


def version_of(module: str) -> str | None:
    """The version of the package that brings a module, without importing it; None where none does."""
    for name in metadata.packages_distributions().get(module.split(".", maxsplit=1)[0], []):
        return metadata.version(name)
    return None
