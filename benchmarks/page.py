"""docs/benchmarks.md: each benchmark writes its own section of the page, between two markers."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Replaces what stands between `<!-- name -->` and `<!-- /name -->`.

    Raises:
        ValueError: The page has no such section.
    """
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    old = page.read_text()
    if not pattern.search(old):
        raise ValueError(f"{page.name} has no section <!-- {name} --> ... <!-- /{name} -->")
    page.write_text(pattern.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", old))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def environment(*packages: str) -> str:
    """The processor, in general words, and the versions of the packages that were measured."""
    facts = Path("/proc/cpuinfo").read_text()
    known = (("avx512f", "AVX-512"), ("avx512_vnni", "VNNI"), ("amx_int8", "AMX"))
    extensions = [name for flag, name in known if flag in facts]
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    processor = ", ".join([f"{os.cpu_count()} cores of an x86-64 server processor", *extensions])
    return f"{processor}; {versions}"
