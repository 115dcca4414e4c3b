"""What a build did, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_trt.bundle.plan_stamp import PlanStamp
from keras_trt.reports import Findings, Table


@dataclass(frozen=True)
class BuiltPlan:
    """One plan that is there now.

    Attributes:
        kind: `"tensorrt"` or `"tensorrt_rtx"`.
        version: The TensorRT version it is for.
        compute_capabilities: The GPU classes it is for.
        file: Where it lies.
        bytes: Its size.
        config: The builder's options that differ from the defaults.
        reused: Whether it was there already.
        seconds: How long building it took; 0.0 where it was reused.
        computes: How many layers with weights compute in which type; empty where it was reused.
        precision: As of the bundle's `PlanStamp`: None where it is what the graph carries.
        chosen: As of the bundle's `PlanStamp`: why it was taken among several.
    """

    kind: str
    version: str
    compute_capabilities: tuple[str, ...]
    file: Path
    bytes: int
    config: dict[str, Any] = field(default_factory=dict)
    reused: bool = False
    seconds: float = 0.0
    computes: dict[str, int] = field(default_factory=dict)
    precision: str | None = None
    chosen: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildReport(Findings):
    """What `build` has built. Prints as a table.

    Attributes:
        path: The bundle's folder.
        name: The Keras model's name.
        plans: The plans that are there now.
        not_built: Why there is none, by the kind of builder.
        notes: Sentences worth reading.
    """

    path: Path
    name: str
    plans: tuple[BuiltPlan, ...]
    not_built: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """One row a plan, and one for each builder that made none."""
        columns = ("plan", "version", "for", "MB", "seconds", "options", "file")
        rows = [
            [
                f"{p.kind} ({', '.join(filter(None, [p.precision, 'reused' if p.reused else 'built']))})",
                p.version,
                ", ".join(p.compute_capabilities),
                f"{p.bytes / 1e6:.2f}",
                f"{p.seconds:.1f}",
                ", ".join(f"{name}={value}" for name, value in p.config.items()) or "defaults",
                str(p.file),
            ]
            for p in self.plans
        ]
        yield Table(f"{self.name}: plans of {self.path}", columns, rows)
        if self.not_built:
            yield Table("Not built", ("builder", "why"), [[k, why] for k, why in self.not_built.items()])


def built_plan(
    stamp: PlanStamp, file: Path, *, seconds: float | None = None, computes: dict[str, int] | None = None
) -> BuiltPlan:
    """The row of a plan; without `seconds` it was there already."""
    return BuiltPlan(
        kind=stamp.kind,
        version=stamp.version,
        compute_capabilities=stamp.compute_capabilities,
        file=file,
        bytes=stamp.bytes,
        config=stamp.config,
        reused=seconds is None,
        seconds=round(seconds or 0.0, 3),
        computes=computes or {},
        precision=stamp.precision,
        chosen=stamp.chosen,
    )
