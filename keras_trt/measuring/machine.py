"""Which machine it is: what any figure that was measured depends on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from keras_trt._machine import deps
from keras_trt.engine.machine.gpu import gpus

_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "CUDA_VISIBLE_DEVICES")
_OURS = ("keras-trt", "numpy")


@dataclass(frozen=True)
class Machine:
    """This machine, as far as it says.

    Attributes:
        processor: Its model's name.
        cores: How many of its cores this process may use.
        memory: In bytes; 0 where unknown.
        system: The operating system and its version.
        python: Python's version.
        gpus: Each NVIDIA GPU, with its class and memory.
        driver: The version of NVIDIA's driver; empty without one.
        versions: Of the packages that matter here, by name.
        environment: Variables that say how many threads or which GPUs are used, where they are set.
        load: How many processes wanted a core in the last minute, on average; None where unknown.
    """

    processor: str
    cores: int
    memory: int
    system: str
    python: str
    gpus: tuple[str, ...]
    driver: str
    versions: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    load: float | None = None

    def sentences(self) -> tuple[str, ...]:
        """The same for people."""
        cards = ", ".join(self.gpus) or "no NVIDIA GPU"
        driver = f", driver {self.driver}" if self.driver else ""
        settings = "".join(f", {name}={value}" for name, value in self.environment.items())
        load = "" if self.load is None else f", load average {self.load:.1f}"
        return (
            f"{self.processor}, {self.cores} cores, {self.memory / 2**30:.0f} GiB{load}; {cards}{driver}.",
            f"{self.system}, Python {self.python}{settings}.",
            ", ".join(f"{name} {version}" for name, version in self.versions.items()) + ".",
        )


def machine(modules: Iterable[str] = ()) -> Machine:
    """This machine.

    Args:
        modules: The modules whose packages' versions matter, beside this library's own.
    """
    versions = {name: version for name in _OURS if (version := deps.installed(name))}
    versions |= {name: version for name in modules if (version := deps.version_of(name))}
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=_memory(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        gpus=tuple(f"{g.name} ({g.compute_capability}, {g.memory / 2**30:.0f} GiB)" for g in gpus()),
        driver=driver_version(),
        versions=versions,
        environment={name: os.environ[name] for name in _THREADS if name in os.environ},
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def driver_version() -> str:
    """The version of NVIDIA's driver, e.g. `"570.86.15"`; empty where there is none, or it does not say."""
    with suppress(OSError):
        line = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
        numbers = [word for word in line.split() if word[0].isdigit() and "." in word]
        return numbers[0] if numbers else ""
    return ""


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0
