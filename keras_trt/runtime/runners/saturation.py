"""Whether the processor's int8 arithmetic loses what does not fit into 16 bits."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

_EXACT = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Flags of x86 processors that add int8 products up in 32 bits."""


@functools.cache
def saturates(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether products of int8 are added up in pairs of 16 bits here, as AVX2's VPMADDUBSW does.

    OpenVINO 2026.4 and ONNX Runtime 1.32 then cut sums above 32767, with errors in few elements that a probe
    can miss. False where the processor's flags cannot be read.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        lines = Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), None)
    return flags is not None and _EXACT.isdisjoint(flags)
