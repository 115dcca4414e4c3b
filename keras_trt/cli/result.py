"""What a subcommand has done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_trt.reports import Findings


class UsageError(Exception):
    """What was typed is wrong, as could be told before any work: exit code 2."""


@dataclass(frozen=True)
class Result:
    """The end of a subcommand.

    Attributes:
        report: What to print; None where there is nothing.
        told: Whether the function has printed it already, unless it was asked to be quiet.
        text: What to print where there is no report.
        failed: Whether it ended well but has to be told by the exit code, as a difference that was found.
    """

    report: Findings | None = None
    told: bool = False
    text: str = ""
    failed: bool = False
