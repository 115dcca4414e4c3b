"""Runs a freshly written ONNX file beside Keras, and says which of Keras, the file and a runner is off."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from keras_trt._base.formats import float_type, is_quantized, rounds_in_bfloat16
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model
from keras_trt._machine.memory import give_back
from keras_trt.bundle import Bundle
from keras_trt.bundle.probe import Probe, expect
from keras_trt.compare.constants import Call, constant_calls, rounding
from keras_trt.compare.layerwise import compare_layers
from keras_trt.compare.numbers import (
    Difference,
    compare,
    without_activation_rounding,
    without_bfloat16,
    without_rounding,
)
from keras_trt.compare.probes.probe import Answers, Feeds, ProbeError, allowed_differences, ask_keras, rows_of
from keras_trt.errors import ExportError, MissingDependencyError, RunnerError
from keras_trt.packing.check_graph import check_scales
from keras_trt.quantize.inventory import QuantizedTensor
from keras_trt.runtime.distance import distance
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, INSTALL, REFERENCE, Setting, settings
from keras_trt.trace.run import run
from keras_trt.twins.quantizer import observing

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace


@dataclass(frozen=True)
class Comparison:
    """What the comparison found.

    Attributes:
        differences: Per output, worst first; empty when nothing could run the file.
        setting: What it ran on, or None.
        notes: Sentences worth reading.
        probe: The rows, with what is right; None when Keras was not asked.
    """

    differences: tuple[Difference, ...] = ()
    setting: Setting | None = None
    notes: tuple[str, ...] = ()
    probe: Probe | None = None


def compare_with_keras(
    model: Model, traced: Trace, bundle: Bundle, tensors: Sequence[QuantizedTensor] = (), data: object = None
) -> Comparison:
    """Runs Keras and the ONNX file on a probe batch, on the runners in the order in which `load` tries them.

    One runner never judges alone: where it differs from Keras, the next one is asked.

    Args:
        model: The model that was traced.
        traced: Its trace.
        bundle: The bundle that is being written.
        tensors: What is quantised in the model.
        data: Rows like those of use, or None.

    Raises:
        ExportError: No runner makes of the file what Keras makes of the model.
    """
    precision, notes = bundle.manifest.precision, []
    rows = rows_of(traced.inputs, bundle.manifest.batch)
    try:
        answers = ask_keras(model, traced, precision, rows, data)
    except ProbeError as e:
        return Comparison(notes=(f"Not compared with Keras: {e}",))
    with ExitStack() as stack:
        if rounds_in_bfloat16(precision):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            onnx.save(without_bfloat16(onnx.load(bundle.onnx_path)), folder / bundle.manifest.onnx_file)
            bundle = replace(bundle, path=folder)
            notes.append("Compared with Keras in float32 arithmetic: CPU runners do not round to bfloat16.")
        tried = _Tried(bundle, answers.feeds)
        agreed = tried.first_right(answers)
        if agreed is None and not tried.outputs:
            reason = "; ".join(tried.refusals.values()) or f"no CPU runner is installed ({INSTALL})"
            return Comparison(notes=(f"Not compared with Keras: {reason}",))
        if agreed is None:
            compiled = replace(answers, expected=run(model, traced, answers.feeds, compiled=True))
            agreed = tried.first_right(compiled)
            if agreed is None:
                raise ExportError(tried.verdict(answers, _first_layer(model, bundle, answers.feeds)))
            answers = compiled
            notes.append("Keras computes another result eagerly; compared with what its `predict` computes.")
        if is_quantized(precision):
            _check_unrounded(model, traced, bundle, tensors, answers.feeds)
    notes += tried.asides(agreed)
    probe = Probe(answers.feeds, expect(answers.expected, answers.allowed))
    return Comparison(tuple(tried.differences[agreed]), agreed, tuple(notes), probe)


class _Tried:
    """The runners that were tried on a file, and what each made of the probe."""

    def __init__(self, bundle: Bundle, feeds: Feeds) -> None:
        self.bundle, self.feeds = bundle, feeds
        self.outputs: dict[Setting, Feeds] = {}
        self.refusals: dict[Setting, str] = {}
        self.differences: dict[Setting, list[Difference]] = {}

    def first_right(self, answers: Answers) -> Setting | None:
        """The first setting that agrees with Keras.

        Raises:
            ExportError: All make other shapes or NaN of it.
        """
        wrong: ExportError | None = None
        self.differences = {}
        for setting in settings(self.bundle.manifest):
            if not self._ran(setting):
                continue
            try:
                compared = compare(answers.expected, self.outputs[setting], answers.allowed)
            except ExportError as e:
                wrong = wrong or e
                continue
            self.differences[setting] = compared
            if not any(d.diverges for d in compared):
                return setting
        if wrong is not None and not self.differences:
            raise wrong
        return None

    def verdict(self, answers: Answers, layer: str | None = None) -> str:
        """Which of the file and the runners is off, when none agrees with Keras."""
        last = {setting.name: (setting, compared[0]) for setting, compared in self.differences.items()}
        shown = "; ".join(f"{difference} on {setting}" for setting, difference in last.values())
        where = f" The first layer that differs is {layer!r}." if layer else ""
        if len(self.outputs) == 1:
            blame = f"No second runner could be asked; install one with: pip install {' '.join(CPU_RUNNERS)}."
        elif self._agree(answers):
            blame = "The runners agree with one another, so the exported file is off."
        else:
            blame = "The runners differ from one another, too, so at least one of them is off as well."
        return (
            f"The exported model differs from Keras: {shown}.{where} {blame} If the difference is known and "
            "wanted, pass verify=False."
        )

    def asides(self, agreed: Setting) -> list[str]:
        """What to know of the runners before the one that agreed."""
        wrong = [
            f"{setting} computes this file wrongly ({compared[0]}); `load` finds that and does not use it."
            for setting, compared in self.differences.items()
            if setting != agreed
        ]
        unable = [f"{setting} cannot run this file." for setting in self.refusals]
        taken = [f"On a CPU it runs on {agreed}."] if wrong or unable else []
        return [*wrong, *unable, *taken]

    def _ran(self, setting: Setting) -> bool:
        if setting not in self.outputs and setting not in self.refusals:
            try:
                with setting.make(self.bundle) as runner:
                    self.outputs[setting] = runner.run(self.feeds)
            except (RunnerError, MissingDependencyError) as e:  # a graph it cannot read, a broken package
                self.refusals[setting] = f"{setting}: {e}"
            give_back(self.bundle.onnx_path.stat().st_size)
        return setting in self.outputs

    def _agree(self, answers: Answers) -> bool:
        first, *others = self.outputs.values()
        return all(
            other[name].shape == y.shape and distance(y, other[name])[0] <= answers.allowed[name]
            for other in others
            for name, y in first.items()
        )


def _check_unrounded(
    model: Model, traced: Trace, bundle: Bundle, tensors: Sequence[QuantizedTensor], feeds: Feeds
) -> None:
    """Compares with the activations in float on both sides, to float precision: rounding hides small errors.

    Raises:
        ExportError: No runner agrees with Keras, or a scale is not the model's.
    """
    graph = onnx.load(bundle.onnx_path, load_external_data=False)
    check_scales(graph, traced.layers, tensors)
    ways = _unrounded(model, traced, bundle, feeds)
    answers = next(ways)
    if _right_by_reference(graph, bundle, answers):
        return
    with tempfile.TemporaryDirectory() as folder:
        unrounded = without_rounding(onnx.load(bundle.onnx_path))
        onnx.save(unrounded, Path(folder) / bundle.manifest.onnx_file)
        floats = float_type(bundle.manifest.precision)
        tried = _Tried(Bundle(Path(folder), replace(bundle.manifest, precision=floats)), feeds)
        if tried.first_right(answers) is not None or not tried.outputs:
            return
        if any(tried.first_right(others) is not None for others in ways):
            return
        raise ExportError(f"With its activations unrounded: {tried.verdict(answers)}")


def _unrounded(model: Model, traced: Trace, bundle: Bundle, feeds: Feeds) -> Iterator[Answers]:
    """What Keras makes of the probe with its activations in float, and what else it could be taken to make.

    The file holds constants as the quantisers before them have rounded them, and is of what `predict`
    computes, which a few layers do not compute eagerly.
    """
    flavor, floats = flavor_of(model), float_type(bundle.manifest.precision)

    def answers(calls: Collection[Call], compiled: bool) -> Answers:
        with observing(rounding(flavor, calls)):
            expected = run(model, traced, feeds, compiled=compiled)
        with observing(rounding(flavor, calls)):
            allowed = allowed_differences(model, traced, feeds, expected, floats, compiled=compiled)
        return Answers(feeds, expected, allowed)

    yield answers((), compiled=False)
    if calls := constant_calls(model, traced, feeds):
        yield answers(calls, compiled=False)
    yield answers(calls, compiled=True)


def _right_by_reference(graph: onnx.ModelProto, bundle: Bundle, answers: Answers) -> bool:
    """Whether the reference runner agrees on the graph with its weights left in the bundle, as they are.

    It computes node by node, so at no time more than one layer's weights are floats.
    """
    file, floats = bundle.path / "unrounded.onnx", float_type(bundle.manifest.precision)
    beside = Bundle(bundle.path, replace(bundle.manifest, precision=floats, onnx_file=file.name))
    try:
        onnx.save(without_activation_rounding(graph), file)
        with REFERENCE.make(beside) as runner:
            compared = compare(answers.expected, runner.run(answers.feeds), answers.allowed)
    except (RunnerError, MissingDependencyError, ExportError):
        return False
    finally:
        file.unlink(missing_ok=True)
    return not any(difference.diverges for difference in compared)


def _first_layer(model: Model, bundle: Bundle, feeds: Feeds) -> str | None:
    """The first layer of the file that differs from Keras, when that can be seen."""
    try:
        return compare_layers(flavor_of(model), model, bundle, REFERENCE.name, feeds)[1]
    except RunnerError:
        return None
