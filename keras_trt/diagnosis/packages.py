"""Which packages this library's extras ask for, and which of them are here: read off its own metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from keras_trt._machine import deps
from keras_trt.diagnosis.doctor_report import Installed

PACKAGE = "keras-trt"
_FOR_DEVELOPERS = ("test", "dev")


def packages() -> tuple[Installed, ...]:
    """Every package that this library or one of its extras asks for; empty in a checkout without metadata."""
    with suppress(metadata.PackageNotFoundError):
        extras = [
            extra
            for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()
            if extra not in _FOR_DEVELOPERS
        ]
        return tuple(_packages(extras, metadata.requires(PACKAGE) or ()))
    return ()


def _packages(extras: Iterable[str], texts: Iterable[str]) -> Iterator[Installed]:
    requirements = [Requirement(text) for text in texts]
    wanted: dict[str, tuple[Requirement, list[str]]] = {}
    for requirement in (r for r in requirements if r.name != PACKAGE):
        asking = [extra for extra in ("", *extras) if _asked(requirement, extra)]
        if asking:
            wanted.setdefault(requirement.name, (requirement, []))[1].extend(
                asking[:1] if "" in asking else asking
            )
    for name, (requirement, asking) in wanted.items():
        version = deps.installed(name)
        yield Installed(
            package=name,
            extras=tuple(extra for extra in asking if extra),
            needed=str(requirement.specifier),
            version=version,
            fits=version is not None and _fits(requirement, version),
            command=f"pip install -U '{name}{requirement.specifier}'",
        )


def _asked(requirement: Requirement, extra: str) -> bool:
    """Whether the package is one of an extra, or of the library itself where that is empty."""
    if requirement.marker is None:
        return extra == ""
    return requirement.marker.evaluate({"extra": extra})


def _fits(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:  # of a distribution that names its builds in its own way
        return True
