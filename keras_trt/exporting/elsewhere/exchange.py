"""What the two processes give each other: a folder that only they know, with pickles of their own making."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_trt.exporting.elsewhere.classes import Classes

MODEL, REQUEST, ANSWER = "model.keras", "request.pkl", "answer.pkl"


@dataclass(frozen=True)
class Request:
    """What is to be exported and how.

    Attributes:
        classes: Of the user's, that the model's file names.
        path: The bundle's folder.
        options: The other arguments of `export`.
    """

    classes: Classes
    path: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        report: What `export` returned.
        error: Or what it raised.
        warnings: The warnings on the way, as (category, text).
    """

    report: Any = None
    error: BaseException | None = None
    warnings: list[tuple[type[Warning], str]] = field(default_factory=list)


def write(folder: Path, name: str, value: Request | Answer) -> None:
    """Writes one of them."""
    (folder / name).write_bytes(pickle.dumps(value))


def read(folder: Path, name: str) -> Any:
    """Reads one of them."""
    return pickle.loads((folder / name).read_bytes())
