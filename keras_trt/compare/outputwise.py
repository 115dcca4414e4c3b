"""Compares runners with Keras output by output, over all batches of some data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_trt._base.tensors import BATCH_AXIS, free_batch
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.bundle import Manifest
from keras_trt.compare.verify_report import OutputDifference
from keras_trt.data.scores import Score
from keras_trt.errors import InputError
from keras_trt.runtime.distance import FLOOR, distance
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.feeds import Feeds, batch_of, cast, name_arrays
from keras_trt.runtime.predict import fill, join, run_rows
from keras_trt.runtime.runners.runner import Runner
from keras_trt.trace.run import run

LAYER_ROWS = 4
"""Rows of the first batch on which layers are compared."""


class _KerasRunner(Runner):
    """Keras itself, run like any other runner."""

    name = "keras"

    def __init__(self, model: Model, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.model, self.manifest = model, manifest

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return run(self.model, self.manifest, feeds)


class OutputComparison:
    """Adds up batch by batch how far every runner is from Keras."""

    def __init__(self, model: Model, engines: Mapping[str, EngineModel], keep: bool) -> None:
        first = next(iter(engines.values()))
        self.manifest, self.inputs = first.bundle.manifest, first.inputs
        self.outputs = tuple(
            free_batch(s, self.manifest.inputs) for s in self.manifest.outputs
        )  # of the graph
        self.keras = _KerasRunner(model, self.manifest)
        self.runners = {name: engine.runner for name, engine in engines.items()}
        self.sums = {(name, spec.name): _Sums() for name in engines for spec in self.outputs}
        self.keep = keep
        self.batches: dict[str, list[Feeds]] = {name: [] for name in ("keras", *engines)}
        self.targets: list[Any] = []
        self.rows = 0
        self.probe: Feeds = {}

    def add(self, x: object, y: object) -> None:
        """Runs one batch everywhere."""
        feeds = name_arrays(x, self.manifest.input_structure, self.inputs)
        results = {
            name: run_rows(runner, feeds, self.inputs, self.outputs)
            for name, runner in {"keras": self.keras, **self.runners}.items()
        }
        for (name, output), sums in self.sums.items():
            sums.add(output, results["keras"][output], results[name][output])
        if self.keep:
            self.targets.append(y)
            for name, outputs in results.items():
                self.batches[name].append(outputs)
        if not self.rows:
            self.probe = self._few(feeds)
        self.rows += batch_of(feeds, self.inputs)

    def differences(self, allowed: Mapping[str, float]) -> tuple[OutputDifference, ...]:
        """One per runner and output, beside what is allowed of that output."""
        return tuple(
            OutputDifference(runner, output, sums.relative, sums.largest, sums.agreement, allowed[output])
            for (runner, output), sums in self.sums.items()
        )

    @property
    def nothing_finite(self) -> list[str]:
        """The outputs of which Keras gives no finite number, so that nothing could be compared."""
        finite: dict[str, int] = {}
        for (_, output), sums in self.sums.items():
            finite[output] = finite.get(output, 0) + sums.finite
        return [output for output, count in finite.items() if not count]

    def measured(self, flavor: Flavor, score: Score) -> dict[str, float]:
        """The metric's value per runner, Keras first."""

        def joined(*batches: object) -> np.ndarray:
            return np.concatenate([np.asarray(batch) for batch in batches])

        targets = flavor.tf.nest.map_structure(joined, *self.targets)
        return {
            name: score.of(targets, fill(self.manifest.output_structure, self._joined(batches)))
            for name, batches in self.batches.items()
        }

    def _joined(self, batches: list[Feeds]) -> Feeds:
        return {spec.name: join([batch[spec.name] for batch in batches], spec) for spec in self.outputs}

    def _few(self, feeds: Feeds) -> Feeds:
        """The first rows, as many as a fixed batch needs."""
        rows = batch_of(feeds, self.inputs)
        _, high = self.keras.batch_range
        taken = np.arange(high or min(rows, LAYER_ROWS)) % max(rows, 1)
        few = {
            s.name: feeds[s.name][taken] if s.shape[:1] == (BATCH_AXIS,) else feeds[s.name]
            for s in self.inputs
        }
        return cast(few, self.inputs)


@dataclass
class _Sums:
    """The parts of an `OutputDifference`, summed over batches."""

    gap: float = 0.0
    norm: float = 0.0
    largest: float = 0.0
    finite: int = 0
    rows: int = 0
    agreeing: int = 0

    def add(self, output: str, expected: np.ndarray, actual: np.ndarray) -> None:
        """Adds one batch."""
        if actual.shape != expected.shape:
            raise InputError(
                f"Output {output!r} of the bundle has shape {actual.shape}, Keras's {expected.shape}. Was "
                "the bundle exported from another model?"
            )
        relative, largest = distance(expected, actual)
        self.finite += int(np.isfinite(expected).sum())
        finite = np.where(np.isfinite(expected), expected, 0.0).astype(np.float64)
        square = float((finite**2).sum())
        self.norm += square
        self.gap += relative**2 * max(square, FLOOR**2)
        self.largest = max(self.largest, largest)
        if expected.ndim > 1 and expected.shape[-1] > 1 and expected.dtype.kind == "f":
            same = expected.argmax(-1) == actual.argmax(-1)
            self.rows += same.size
            self.agreeing += int(same.sum())

    @property
    def relative(self) -> float:
        """Over all batches."""
        return (self.gap / max(self.norm, FLOOR**2)) ** 0.5

    @property
    def agreement(self) -> float | None:
        """Over all rows; None for outputs without classes."""
        return self.agreeing / self.rows if self.rows else None
