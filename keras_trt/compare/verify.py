"""Compares a bundle with its Keras model on data: per runner, per output, per layer, and by a metric."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from keras_trt._base.arguments import check_verbose
from keras_trt._base.formats import is_quantized, rounds_in_bfloat16
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.types import Model
from keras_trt._machine.deps import available
from keras_trt.bundle import Bundle, read_bundle, sha256_of
from keras_trt.compare.layerwise import compare_layers
from keras_trt.compare.numbers import without_bfloat16
from keras_trt.compare.outputwise import OutputComparison
from keras_trt.compare.probes.probe import allowed_differences
from keras_trt.compare.verify_report import LayerDifference, VerifyReport
from keras_trt.data.batches import batches_with_targets, check_data, length
from keras_trt.data.measure import check_targets
from keras_trt.data.scores import Score, score_of
from keras_trt.engine import gpus
from keras_trt.errors import InputError, KerasTRTError, RunnerError
from keras_trt.plans import cache_of
from keras_trt.quantize.inventory import inventory
from keras_trt.runtime.choosing.select import GPU_RUNNERS, select_runner
from keras_trt.runtime.engine_model import EngineModel
from keras_trt.runtime.feeds import Feeds
from keras_trt.runtime.runners.cpu import CPU_RUNNERS, FAITHFUL_FIRST, INSTALL, REFERENCE
from keras_trt.runtime.runners.runner import Runner
from keras_trt.tfmot.accept import accept
from keras_trt.trace.run import run


def verify(
    model: Model,
    path: str | Path,
    data: object,
    *,
    metric: object = None,
    batch_size: int = 32,
    steps: int | None = None,
    verbose: int = 1,
) -> VerifyReport:
    """Compares a bundle with the Keras model it was exported from, on every runner that is here.

    ONNX Runtime and OpenVINO run the ONNX file on the CPU when they are installed; TensorRT runs a plan when
    a GPU is here that it fits. Keras computes in float32, as the export does, whatever its mixed policy.

    Args:
        model: The Keras 3 or tf_keras model; it is left as it was.
        path: The folder that `export` wrote.
        data: An array, a list or dict of arrays, (inputs, targets), a `tf.data.Dataset`, a `PyDataset` or
            `Sequence`, or a generator of batches.
        metric: `"accuracy"`, another name that Keras knows, a metric or loss of Keras's, or a function of
            (targets, predictions) that returns a number; called once per runner with all rows.
        batch_size: Rows at a time, for arrays.
        steps: The most batches to take; needed for endless generators.
        verbose: 1 shows progress, 0 nothing.

    Returns:
        The differences, printable as a table; `first_divergence` is the first Keras layer at fault.

    Raises:
        BundleError: No whole bundle at `path`.
        InputError: Data that does not fit or makes an output NaN throughout, a metric without targets, or a
            bundle of another model.
        RunnerError: No runner can run the bundle here.

    Example:
        >>> found = keras_trt.verify(quantized, "digits.bundle", (x_test, y_test), metric="accuracy")
        >>> sorted(found.metrics)
        ['keras', 'onnxruntime', 'openvino']
    """
    flavor, model, _ = accept(model)
    check_verbose(verbose)
    score = None if metric is None else score_of(metric, flavor)
    check_data(data, batch_size, steps)
    bundle = read_bundle(path, verify=False)
    with ExitStack() as stack:
        on_cpu, in_float32 = _for_cpu(bundle, stack)
        engines, missing = _engines(bundle, on_cpu, stack)
        notes = [
            *_changed(bundle),
            *_around(model, bundle),
            *_quantized_by_export(model, bundle),
            *in_float32,
            *missing,
        ]
        outputs = OutputComparison(model, engines, score is not None)
        batches = batches_with_targets(flavor, model, data, batch_size, steps)
        bar = flavor.keras.utils.Progbar(length(data, batch_size, steps), verbose=verbose, unit_name="batch")
        _compare(outputs, batches, score, bar)
        layers, first, unseen = _layers(flavor, model, on_cpu, engines, outputs.probe)
        notes += unseen
        expected = run(model, bundle.manifest, outputs.probe)
        allowed = allowed_differences(
            model, bundle.manifest, outputs.probe, expected, on_cpu.manifest.precision
        )
    differences = outputs.differences(allowed)
    off = [d for d in differences if d.diverges]
    if off and layers and first is None and layers[0].runner not in {d.runner for d in off}:
        notes.append(f"{off[0].runner} differs although every layer agrees on {layers[0].runner}.")
    return VerifyReport(
        path=bundle.path,
        name=bundle.manifest.name,
        precision=bundle.manifest.precision,
        rows=outputs.rows,
        runners=tuple(engines),
        differences=differences,
        layers=tuple(layers),
        first_divergence=first,
        metrics={} if score is None else outputs.measured(flavor, score),
        notes=tuple(notes),
    )


def _compare(outputs: OutputComparison, batches: Iterable[Any], score: Score | None, bar: Any) -> None:
    """Compares batch by batch.

    Raises:
        InputError: The data does not fit, or nothing that Keras makes of it is finite.
    """
    for done, (x, y) in enumerate(batches, start=1):
        check_targets(score, y)
        outputs.add(x, y)
        bar.update(done)
    if done != bar.target:  # an end that could not be known ends the line, too
        bar.update(done, finalize=True)
    if outputs.nothing_finite:
        raise InputError(
            f"With this data Keras gives no finite number at {', '.join(outputs.nothing_finite)}, so "
            "nothing can be compared. Look for NaN in the data and in the model's weights."
        )


def _changed(bundle: Bundle) -> list[str]:
    if sha256_of(bundle.onnx_path) == bundle.manifest.onnx_sha256:
        return []
    return [f"`{bundle.onnx_path.name}` is not the file that was exported: its SHA-256 has changed."]


def _around(model: Model, bundle: Bundle) -> list[str]:
    record = bundle.manifest.record.get("around")
    sides = record.items() if isinstance(record, dict) else ()  # nobody has checked what people read
    around = {side: list(map(str, names)) for side, names in sides if isinstance(names, list)}
    mine = {layer.name for _, layer in flavor_of(model).walk(model)}
    if all(mine.issuperset(names) for names in around.values()):
        return []
    told = "; ".join(f"{side} it {', '.join(names)}" for side, names in around.items())
    return [
        f"The bundle computes more than the model itself ({told}), as `preprocess` and `postprocess` of "
        "`export` say: compare it with a model of all that."
    ]


def _quantized_by_export(model: Model, bundle: Bundle) -> list[str]:
    if not is_quantized(bundle.manifest.precision) or inventory(model):
        return []
    return [
        "The bundle is quantised and the model is not, so their difference is what quantising costs: compare "
        "a metric, or verify with the quantised model."
    ]


def _for_cpu(bundle: Bundle, stack: ExitStack) -> tuple[Bundle, list[str]]:
    """The bundle, or one in float32 where the CPU runners would make that of it, which notes say."""
    if not rounds_in_bfloat16(bundle.manifest.precision):
        return bundle, []
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    onnx.save(without_bfloat16(onnx.load(bundle.onnx_path)), folder / bundle.manifest.onnx_file)
    # Its constants stay rounded to bfloat16, so the tolerance is not that of float32.
    precision = bundle.manifest.precision.replace("bf16", "fp16")
    manifest = replace(bundle.manifest, precision=precision, probe_sha256=None)
    note = "On the CPU in float32 arithmetic: CPU runners do not round to bfloat16."
    return replace(bundle, path=folder, manifest=manifest), [note]


def _engines(bundle: Bundle, on_cpu: Bundle, stack: ExitStack) -> tuple[dict[str, EngineModel], list[str]]:
    """Everything here that can run the bundle, by name; notes say why others cannot."""
    engines = {}
    notes = [] if gpus() else ["TensorRT did not run: no NVIDIA GPU or driver here."]
    names = [*sorted(CPU_RUNNERS), *(GPU_RUNNERS if gpus() else ())]
    for name in (name for name in names if available(name)):
        held = on_cpu if name in CPU_RUNNERS else bundle
        try:
            runner, refusal = _chosen(held, name)
        except KerasTRTError as e:
            notes.append(f"{name} did not run: {_first_line(e)}")
            continue
        notes += refusal
        engines[name] = stack.enter_context(EngineModel(held, runner))
    if not engines:
        raise RunnerError(
            f"Nothing can run `{bundle.path}` here: {' '.join(notes)} Install a runner with: {INSTALL}"
        )
    return engines, notes


def _chosen(bundle: Bundle, name: str) -> tuple[Runner, list[str]]:
    """The runner as `load` would take it; one that `load` refuses is compared all the same."""
    try:
        return select_runner(bundle, name, verbose=0, cache=cache_of(None)), []
    except RunnerError as e:
        return select_runner(bundle, name, check=False, verbose=0, cache=cache_of(None)), [_first_line(e)]


def _layers(
    flavor: Flavor,
    model: Model,
    bundle: Bundle,
    engines: Mapping[str, EngineModel],
    feeds: Feeds,
) -> tuple[list[LayerDifference], str | None, list[str]]:
    """The layers on the first CPU runner that can show them, the first that diverges, and notes."""
    notes: list[str] = []
    for name in (name for name in FAITHFUL_FIRST if name in engines):
        try:
            # The others may move scales through an int8 graph, and show tensors as they are in between.
            rounded = name == REFERENCE.name
            divergences, first = compare_layers(flavor, model, bundle, name, feeds, rounded=rounded)
        except RunnerError as e:
            notes.append(f"Layers were not compared on {name}: {_first_line(e)}")
            continue
        if not rounded and is_quantized(bundle.manifest.precision):
            notes.append("Layers were compared with the rounding of activations taken out on both sides.")
        return divergences, first, notes
    return [], None, notes


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]
