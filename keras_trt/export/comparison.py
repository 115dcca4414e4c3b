"""Runs a freshly written ONNX file beside Keras and compares the numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from keras_trt._deps import available
from keras_trt.bundle import Bundle
from keras_trt.errors import RunnerError
from keras_trt.export import precision as precisions
from keras_trt.export.numbers import (
    Difference,
    check_numbers,
    compare,
    probe,
    without_bfloat16,
    without_rounding,
)

if TYPE_CHECKING:
    from keras_trt._keras.trace import Trace


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes:
        differences: Per output, worst first; empty when nothing could run the file.
        runner: The runner's name, or None.
        notes: Sentences worth reading.
    """

    differences: tuple[Difference, ...] = ()
    runner: str | None = None
    notes: tuple[str, ...] = ()


def compare_with_keras(model: Any, traced: Trace, bundle: Bundle) -> Comparison:
    """Runs Keras and the ONNX file on a probe batch.

    Raises:
        ExportError: An output differs by more than the precision explains.
    """
    from keras_trt._keras.trace import run
    from keras_trt.runtime.select import CPU_RUNNERS

    precision, notes = bundle.manifest.precision, []
    low, _, high = bundle.manifest.batch
    feeds = probe(traced, max(low, min(2, high)))
    refusals = []
    with ExitStack() as stack:
        if precision == "int8+bf16":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            onnx.save(without_bfloat16(onnx.load(bundle.onnx_path)), folder / bundle.manifest.onnx_file)
            bundle = replace(bundle, path=folder)
            notes.append(
                "Compared with Keras in float32 arithmetic: no CPU runner computes int8 with bfloat16."
            )
        for name in (name for name in CPU_RUNNERS if available(name)):
            try:
                found = stack.enter_context(CPU_RUNNERS[name](bundle)).run(feeds)
            except RunnerError as e:  # ONNX Runtime has no bfloat16 on the CPU, for one
                refusals.append(f"{name}: {e}")
                continue
            expected = run(model, traced, feeds)
            differences = compare(expected, found)
            rounding: dict[str, float] = {}
            if precisions.is_int8(precision):
                unrounded = _unrounded(model, traced, bundle, CPU_RUNNERS[name], feeds, precision)
                rounding = {d.output: d.relative for d in compare(unrounded, expected)}
            check_numbers(differences, precision, rounding)
            return Comparison(tuple(differences), name, tuple(notes))
    reason = "; ".join(refusals) or "no CPU runner is installed (pip install openvino)"
    return Comparison(notes=(f"Not compared with Keras: {reason}",))


def _unrounded(
    model: Any, traced: Trace, bundle: Bundle, runner: Any, feeds: Mapping[str, Any], precision: str
) -> dict[str, Any]:
    """Compares with the activations in float on both sides, to float precision; returns Keras's outputs."""
    from keras_trt._keras.trace import run
    from keras_trt.quantize.quantizer import observing

    with observing(lambda quantizer, tensor: None):
        expected = run(model, traced, feeds)
    with tempfile.TemporaryDirectory() as folder:
        graph = without_rounding(onnx.load(bundle.onnx_path))
        onnx.save(graph, Path(folder) / bundle.manifest.onnx_file)
        with runner(replace(bundle, path=Path(folder))) as running:
            check_numbers(compare(expected, running.run(feeds)), precisions.float_type(precision))
    return expected
