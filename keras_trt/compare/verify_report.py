"""What `verify` found, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_trt.reports import Findings, Table


@dataclass(frozen=True)
class OutputDifference:
    """How far one output of one runner is from Keras's, over all data.

    Attributes:
        runner: e.g. `"openvino"`.
        output: The output's name.
        relative: `|a - b| / |b|` in the L2 norm, with b Keras's; infinite where only the runner's is NaN.
        largest: The largest absolute difference.
        agreement: The share of rows whose largest value along the last axis is at the same place, 0.0 to
            1.0; None for outputs without classes.
        allowed: The relative difference that the precision explains, measured on a few rows.
    """

    runner: str
    output: str
    relative: float
    largest: float
    agreement: float | None
    allowed: float

    @property
    def diverges(self) -> bool:
        """Whether the difference is more than the precision explains."""
        return not self.relative <= self.allowed


@dataclass(frozen=True)
class LayerDifference:
    """How far one layer's output is from Keras's, on a few rows of the first batch.

    Attributes:
        runner: e.g. `"onnxruntime"`.
        layer: The Keras layer's path.
        relative: `|a - b| / |b|` in the L2 norm, with b Keras's.
        largest: The largest absolute difference.
        allowed: The relative difference that the precision explains.
    """

    runner: str
    layer: str
    relative: float
    largest: float
    allowed: float

    @property
    def diverges(self) -> bool:
        """Whether the difference is more than the precision explains."""
        return not self.relative <= self.allowed


@dataclass(frozen=True)
class VerifyReport(Findings):
    """How a bundle's numbers compare with Keras's. Prints as a table.

    Attributes:
        path: The bundle's folder.
        name: The Keras model's name.
        precision: What the graph carries, e.g. `"int8+fp16"`.
        rows: How many rows of data were compared.
        runners: What ran the bundle.
        differences: Per runner and output, how far it is from Keras.
        layers: Per runner and layer, in the order of computation; layers that were fused away are missing.
        first_divergence: The path of the first Keras layer whose output differs by more than the precision
            explains, and with it what follows; None when there is none.
        metrics: The metric's value by runner, `"keras"` first; empty without a metric.
        notes: Sentences worth reading.
    """

    path: Path
    name: str
    precision: str
    rows: int
    runners: tuple[str, ...]
    differences: tuple[OutputDifference, ...]
    layers: tuple[LayerDifference, ...]
    first_divergence: str | None
    metrics: dict[str, float]
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """The outputs by runner, the metric by runner, and where layers first differ."""
        title = f"{self.name} and {self.path} ({self.precision}), {self.rows} rows"
        columns = ["runner", "output", "relative", "allowed", "largest", "same class"]
        rows: list[list[Any]] = [
            [d.runner, d.output, d.relative, d.allowed, d.largest, _percent(d.agreement)]
            for d in self.differences
        ]
        yield Table(title, columns, rows)
        if self.metrics:
            keras = self.metrics["keras"]
            rows = [[runner, value, value - keras] for runner, value in self.metrics.items()]
            yield Table("metric", ["runner", "value", "change"], rows)
        yield Table(self._divergence(), (), ())

    def _divergence(self) -> str:
        if self.first_divergence is not None:
            first = next(d for d in self.layers if d.layer == self.first_divergence and d.diverges)
            return (
                f"First divergence: layer {first.layer!r}, {first.relative:.2e} relative on {first.runner} "
                f"({first.allowed:.1e} allowed for {self.precision})"
            )
        if not self.layers:
            return "Layers were not compared."
        return f"No layer diverges, of {len({d.layer for d in self.layers})} that can be seen."


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
