"""Which precision a model leaves in: each is exported and measured, and a stated rule picks one."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_trt._keras.types import Model
from keras_trt.errors import InputError
from keras_trt.exporting.processing import Processing
from keras_trt.quantize import quantize_model
from keras_trt.quantize.costs.budget import Budget, budget_of
from keras_trt.quantize.inventory import inventory
from keras_trt.reports import Table
from keras_trt.tfmot.accept import accept

Export = Callable[..., Any]

RULE = "the first of int8+fp16, int8, fp16, float32 that is within `max_drop`"
_ORDER = ("int8+fp16", "int8", "fp16", "float32")  # of what TensorRT has to compute and to move, least first
_SECONDS = 0.3  # to time each for


@dataclass(frozen=True)
class Candidate:
    """A precision that a model could leave in.

    Attributes:
        precision: Its name.
        score: The metric on all rows, computed by a runner here; larger or smaller is better, as metrics go.
        drop: By how much that is worse than Keras in float32.
        milliseconds: The median time of one batch on that runner, which says little about a GPU.
        runner: The runner.
        onnx_bytes: The size of the ONNX file with its external data.
        int8_mac_share: The share of the multiply-accumulates in int8, as in `ExportReport`.
        is_within: Whether the drop is within the budget.
        is_taken: Whether the rule takes it.
    """

    precision: str
    score: float
    drop: float
    milliseconds: float
    runner: str
    onnx_bytes: int
    int8_mac_share: float
    is_within: bool
    is_taken: bool = False


@dataclass(frozen=True)
class Choice:
    """What was measured, and what follows from it.

    Attributes:
        model: The model to export: the one given, or its quantised copy.
        precision: The `precision` to export it in.
        candidates: All that was measured.
        metric: What was measured; empty where nothing was.
    """

    model: Model
    precision: str | None
    candidates: tuple[Candidate, ...] = ()
    metric: str = ""


def asks_for_choice(
    max_drop: object, data: object, metric: object, *, precision: object, around: Processing
) -> bool:
    """Whether an export is given a budget.

    Raises:
        InputError: The other arguments do not go with that, or go with nothing else.
    """
    if max_drop is None:
        if not (data is None and metric is None):
            raise InputError(
                "`data` and `metric` say what `max_drop` is measured by. Received: no `max_drop`"
            )
        return False
    if precision is not None:
        raise InputError(f"`max_drop` chooses the precision. Received: precision={precision!r}")
    if around.before or around.after:
        raise InputError(
            "`max_drop` is kept on the model without `preprocess` and `postprocess`. Quantise it first: "
            "`keras_trt.quantize_model(model, data=..., max_drop=...)`"
        )
    return True


def choose_precision(
    model: Model, *, data: Any, calibration_data: Any, max_drop: Any, metric: Any, export: Export
) -> Choice:
    """Exports a float model in four precisions and takes the first within a budget, by `RULE`.

    Args:
        model: The float model.
        data: What the metric is measured on (see `quantize_model`).
        calibration_data: What ranges are set from.
        max_drop: By how much the metric may be worse than in float.
        metric: See `quantize_model`.
        export: Writes a model to a path in a precision and returns a report.

    Raises:
        InputError: The model is quantised already, or an argument of the budget is wrong.
    """
    flavor, plain, _ = accept(model)
    if inventory(plain):
        raise InputError(
            f"`max_drop` chooses the precision of a float model. Received: model {plain.name!r}, which is "
            "quantised. Leave `max_drop` out, or export `keras_trt.strip(model)`"
        )
    budget = budget_of(flavor, plain, data, metric, max_drop)
    quantized: Any = quantize_model(
        plain, calibration_data=calibration_data, data=data, max_drop=max_drop, metric=metric, verbose=0
    )
    asked = {"float32": (plain, None), "fp16": (plain, "fp16")}
    if inventory(quantized):
        asked |= {"int8": (quantized, None), "int8+fp16": (quantized, "int8+fp16")}
    candidates = _measured(flavor.tf, asked, budget, export)
    within = {each.precision for each in candidates if each.is_within}
    taken = next((name for name in _ORDER if name in within), "float32")
    marked = tuple(replace(each, is_taken=each.precision == taken) for each in candidates)
    return Choice(*asked[taken], marked, budget.score.name)


def table_of(candidates: Sequence[Candidate], metric: str) -> Table:
    """The candidates as a table.

    Args:
        candidates: What was measured.
        metric: What the score is of.
    """
    rows = [
        [
            f"{each.precision}{' *' if each.is_taken else ''}",
            each.score,
            each.drop,
            each.milliseconds,
            f"{each.onnx_bytes / 1e6:.3g}",
            f"{each.int8_mac_share:.0%}",
        ]
        for each in candidates
    ]
    runner = candidates[0].runner
    columns = ["precision", metric, "worse by", f"ms ({runner})", "MB", "int8"]
    return Table(f"* taken: {RULE}", columns, rows)


def _measured(
    tf: Any, asked: Mapping[str, tuple[Model, str | None]], budget: Budget, export: Export
) -> list[Candidate]:
    """Every precision, exported into a folder that is removed, in turns."""
    from keras_trt.runtime import load
    from keras_trt.runtime.turns import take_turns

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        reports: dict[str, Any] = {}
        engines: dict[str, Any] = {}
        for name, (model, precision) in asked.items():
            reports[name] = export(model, folder / name, precision=precision)
            engines[name] = stack.enter_context(load(folder / name, verbose=0))
        batch = tf.nest.map_structure(np.asarray, budget.batches[0])
        calls = {
            name: lambda engine=engine: engine.predict_on_batch(batch) for name, engine in engines.items()
        }
        turns = take_turns(calls, seconds=_SECONDS)
        candidates = []
        for name, engine in engines.items():
            score = budget.after(partial(_first_floats, tf, engine))
            drop = budget.score.drop(budget.before, score)
            candidates.append(
                Candidate(
                    name,
                    score,
                    drop,
                    1e3 * statistics.median(turns[name].seconds),
                    engine.runner.name,
                    reports[name].onnx_bytes,
                    reports[name].int8_mac_share,
                    budget.allows(drop),
                )
            )
    return candidates


def _first_floats(tf: Any, engine: Any, batch: Any) -> np.ndarray:
    """The first floating output of an engine for a batch of tensors."""
    outputs = tf.nest.flatten(engine.predict_on_batch(tf.nest.map_structure(np.asarray, batch)))
    return np.asarray(
        next(y for y in outputs if y.dtype.kind == "f" or y.dtype.name == "bfloat16"), np.float64
    )
