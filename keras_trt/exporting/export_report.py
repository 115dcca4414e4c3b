"""What an export did, as a table and as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_trt.exporting.choose_precision import Candidate, table_of
from keras_trt.reports import Findings, Table


@dataclass(frozen=True)
class ExportReport(Findings):
    """What was written and what is in it. Prints as a table.

    Attributes:
        path: The bundle's folder.
        name: The Keras model's name.
        keras: `"keras3"` or `"legacy"`.
        precision: What the graph carries, e.g. `"int8+fp16"`.
        opset: The ONNX opset.
        onnx_bytes: Size of the ONNX file with its external data.
        operators: How often each ONNX operator occurs.
        int8_layers: Layers whose convolutions and matrix products run in int8.
        float_layers: Layers with a convolution or matrix product that stayed float.
        fp8_layers: Layers whose convolutions and matrix products run in fp8.
        weights: How many weights are stored in each quantised format, e.g. `{"int8": 53}`.
        int8_mac_share: Share of the multiply-accumulates that run in int8, 0.0 to 1.0; layers that are
            faster in float for their shapes do not count (see `quantize_model`'s `placement`).
        sparse_layers: Layers whose weights have the 2:4 pattern.
        differences: Per output, worst first, how far it is from Keras and how far it may be; empty with
            `verify=False`.
        verified_with: The runner the comparison ran on, or None.
        verified_without: What of that runner is switched off because it is wrong here, e.g.
            `"its int8 arithmetic"`; empty in its fastest setting.
        plans: Per plan its file, kind, GPU classes, size and the types its layers compute in.
        kept_float32: With a lower float type asked for: why a node stayed in float32, by its name.
        seconds: How long each stage took.
        metric: What `max_drop` was of; empty without it.
        candidates: The precisions that were measured for `max_drop`.
        notes: Sentences worth reading.
    """

    path: Path
    name: str
    keras: str
    precision: str
    opset: int
    onnx_bytes: int
    operators: dict[str, int]
    int8_layers: tuple[str, ...]
    float_layers: tuple[str, ...]
    int8_mac_share: float
    fp8_layers: tuple[str, ...]
    weights: dict[str, int]
    sparse_layers: tuple[str, ...]
    differences: tuple[dict[str, Any], ...] = ()
    verified_with: str | None = None
    verified_without: str = ""
    plans: tuple[dict[str, Any], ...] = ()
    kept_float32: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    metric: str = ""
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()

    def tables(self) -> Iterable[Table]:
        """One row a fact."""
        rows = [
            ["precision", f"{self.precision} (opset {self.opset})"],
            [
                "int8 layers",
                f"{len(self.int8_layers)} ({self.int8_mac_share:.1%} of the multiply-accumulates)",
            ],
            *([["fp8 layers", _some(self.fp8_layers)]] if self.fp8_layers else []),
            ["float layers", _some(self.float_layers)],
            *([["kept in float32", _some(tuple(self.kept_float32))]] if self.kept_float32 else []),
            ["quantised weights", ", ".join(f"{name} {n}" for name, n in self.weights.items()) or "0"],
            ["2:4 sparse layers", _some(self.sparse_layers)],
            ["operators", ", ".join(f"{op} {n}" for op, n in self.operators.items())],
            ["model.onnx", _size(self.onnx_bytes)],
            *(
                [p["file"], f"{_size(p['bytes'])} for {', '.join(p['compute_capabilities'])}"]
                for p in self.plans
            ),
            ["difference to Keras", self._difference()],
            ["seconds", ", ".join(f"{stage} {s:.1f}" for stage, s in self.seconds.items())],
        ]
        yield Table(f"{self.name} -> {self.path}", ["", "exported"], rows)
        if self.candidates:
            yield table_of(self.candidates, self.metric)

    def _difference(self) -> str:
        if not self.differences:
            return "not checked"
        worst = self.differences[0]
        without = f" without {self.verified_without}" if self.verified_without else ""
        return (
            f"{worst['relative']:.2e} relative at output {worst['output']!r}, {worst['allowed']:.1e} allowed "
            f"({self.verified_with}{without})"
        )


def _some(names: tuple[str, ...], limit: int = 5) -> str:
    if not names:
        return "0"
    more = f", ... {len(names) - limit} more" if len(names) > limit else ""
    return f"{len(names)}: {', '.join(names[:limit])}{more}"


def _size(n: int) -> str:
    value, unit = float(n), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"
