"""What `doctor` has seen, as tables and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from keras_trt.measuring.machine import Machine
from keras_trt.reports import Findings, Table


@dataclass(frozen=True)
class Installed:
    """One package that this library can use.

    Attributes:
        package: Its name.
        extras: The extras that bring it; none for what the library itself needs.
        needed: Which versions will do, e.g. `">=1.23"`; empty for any.
        version: The one that is installed; None where none is.
        fits: Whether one is installed that will do.
        command: What installs it.
    """

    package: str
    extras: tuple[str, ...]
    needed: str
    version: str | None
    fits: bool
    command: str


@dataclass(frozen=True)
class Tried:
    """One runner, tried on a bundle.

    Attributes:
        runner: Its name.
        works: Whether it loads the bundle and computes it right.
        reason: Why it does not, and the command that helps; else what it said.
    """

    runner: str
    works: bool
    reason: str


@dataclass(frozen=True)
class DoctorReport(Findings):
    """What is installed here and what would run bundles. Prints as tables.

    Attributes:
        machine: The machine.
        packages: What this library can use.
        runners: Every runner, tried.
        chosen: The runner that `load` takes; None where none works.
        why: Why that one.
        tried_on: What the runners were tried on.
        notes: Sentences worth reading.
    """

    machine: Machine
    packages: tuple[Installed, ...]
    runners: tuple[Tried, ...]
    chosen: str | None
    why: str
    tried_on: str
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """Packages, runners, what is missing, the machine."""
        rows: list[list[Any]] = [
            [p.package, ", ".join(p.extras) or "(always)", p.needed, _state(p)] for p in self.packages
        ]
        if rows:
            yield Table("Packages", ["package", "extra", "needed", "installed"], rows)
        rows = [[r.runner, "works" if r.works else "no", r.reason] for r in self.runners]
        yield Table(f"Runners, tried on {self.tried_on}", ["runner", "", "why"], rows)
        yield Table(f"Chosen: {self.chosen or 'none'}: {self.why}", (), ())
        missing = [[p.command] for p in self.packages if p.version is not None and not p.fits]
        if missing:
            yield Table("Too old, or of another kind", ["to mend it"], missing)
        for sentence in self.machine.sentences():
            yield Table(sentence, (), ())


def _state(package: Installed) -> str:
    if package.version is None:
        return "-"
    return package.version if package.fits else f"{package.version}: does not fit"
