"""What a user lets travel with a bundle: names of classes, and facts of any kind as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

LARGEST = 2**20
"""The most bytes that the metadata, or the labels, take as JSON."""
_DEEPEST = 32


def wrong_metadata(value: object) -> str | None:
    """What is wrong with metadata; None where nothing is.

    Example:
        >>> wrong_metadata({"trained": "2026-11-27", "classes": [1, 2]})
        >>> wrong_metadata({"model": {"loss": float("nan")}})
        "metadata['model']['loss'] is nan, which JSON has no number for"
    """
    if not isinstance(value, dict):
        return f"metadata is {type(value).__name__}, which is no dict"
    return _not_json(value, "metadata", _DEEPEST) or _too_large(value, "metadata")


def wrong_labels(value: object, outputs: tuple[str, ...]) -> str | None:
    """What is wrong with labels by output name; None where nothing is."""
    if not isinstance(value, Mapping):
        return f"labels are {type(value).__name__}, no dict of lists"
    for name, names in value.items():
        if name not in outputs:
            return f"labels name the output {name!r}; there are {list(outputs)}"
        if not (isinstance(names, list | tuple) and names and all(isinstance(n, str) for n in names)):
            return f"labels[{name!r}] is no list of texts"
    return _too_large({name: list(names) for name, names in value.items()}, "labels")


def _too_large(value: object, where: str) -> str | None:
    size = len(json.dumps(value).encode())
    return f"{where} take {size:,} bytes as JSON, more than {LARGEST:,}" if size > LARGEST else None


def _not_json(value: object, where: str, depth: int) -> str | None:
    if not depth:
        return f"{where[:80]}... goes deeper than {_DEEPEST} levels"
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in entries:
            if isinstance(value, dict) and not isinstance(key, str):
                return f"{where} has the key {key!r}, which is no text"
            if problem := _not_json(child, f"{where}[{key!r}]", depth - 1):
                return problem
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{where} is {value}, which JSON has no number for"
    elif not (value is None or isinstance(value, str | bool | int | float)):
        return f"{where} is of type {type(value).__name__}, which JSON does not have"
    return None
