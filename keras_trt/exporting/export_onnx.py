"""The ONNX route of an export: a traced model becomes a bundle with a checked graph and perhaps a plan."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir

from keras_trt._base.formats import float_type
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.bundle import Bundle, write_bundle, write_manifest
from keras_trt.bundle.probe import Probe, write_probe
from keras_trt.compare.comparison import Comparison, compare_with_keras
from keras_trt.compare.overflow import find_overflow
from keras_trt.compare.probes.probe import made_up, rows_of
from keras_trt.convert.convert import convert
from keras_trt.data.batches import batches
from keras_trt.engine import EngineConfig, Plan, available_builders, plan_for
from keras_trt.errors import ExportError, InputError, RunnerError
from keras_trt.exporting.export_report import ExportReport
from keras_trt.exporting.record import record_of
from keras_trt.exporting.stages import Stages
from keras_trt.onnx_passes import run_passes
from keras_trt.onnx_passes.quantized.grid import Format
from keras_trt.packing import write
from keras_trt.packing.check_graph import check_graph
from keras_trt.packing.manifest import layers_of, manifest_of
from keras_trt.packing.random_numbers import random_numbers
from keras_trt.quantize.decide import left_by_shape
from keras_trt.quantize.inventory import QuantizedTensor
from keras_trt.quantize.unknown_kernels import computed_inputs, unknown_work
from keras_trt.tensorrt_rules.importable import check_importable, obstacles
from keras_trt.tensorrt_rules.reached import unreached
from keras_trt.tensorrt_rules.recurrences import recurrent_work
from keras_trt.tensorrt_rules.stats import Product, float_work, int8_share, op_counts, products
from keras_trt.trace.trace import Trace

_NO_BUILDER = (
    "The bundle holds no plan: no TensorRT builder is installed. Install one with: "
    "pip install 'keras-trt[rtx]'"
)
_NOT_MEASURED = (
    "Whether values overflow float16 was not checked on data: pass `calibration_data`, and layers that "
    "overflow stay in float32."
)


@dataclass(frozen=True)
class ExportRequest:
    """One export: a model and how it is to be exported, checked.

    Attributes:
        model: The Keras model as it was traced.
        traced: Its trace.
        quantized: What is quantised in it.
        target: The folder to write.
        overwrite: Whether an older bundle there may be replaced.
        batch: (min, opt, max) batch sizes.
        precision: What the graph will carry.
        opset: The ONNX opset.
        external_data: Whether weights go beside the ONNX file; None: only if they have to.
        data: Data to look for overflow with, or None.
        engine: What builds a plan, or None.
        config: The builder's options.
        strict: Whether a precision that TensorRT would not reach is an error.
        verify: Whether to compare with Keras.
        probe: Whether rows of `data` may be kept in the bundle.
        labels: Names of classes, by output name.
        metadata: What else the user wants to travel along.
        around: The names of the layers before and after the model itself, by `"before"` and `"after"`.
        verbose: 1 shows the progress of a build.
    """

    model: Any
    traced: Trace
    quantized: list[QuantizedTensor]
    target: Path
    overwrite: bool
    batch: tuple[int, int, int]
    precision: str
    opset: int
    external_data: bool | None
    data: Any
    engine: str | None
    config: EngineConfig
    strict: bool
    verify: bool
    probe: bool
    labels: dict[str, tuple[str, ...]]
    metadata: dict[str, Any]
    around: dict[str, list[str]]
    verbose: int


def export_onnx(request: ExportRequest, stages: Stages, notes: Sequence[str] = ()) -> ExportReport:
    """Writes the bundle, whole or not at all.

    Args:
        request: What to export, and how.
        stages: Shows and times what happens.
        notes: For the report.

    Raises:
        ExportError: The model cannot be converted, or the result differs from Keras.
        EngineError: TensorRT refused the graph.
    """
    with stages("convert"):
        graph = convert(request.traced, request.opset)
    with stages("optimise"):
        in_float32, overflow = _optimise(graph, request)
    obstacle_notes = (f"TensorRT: {obstacle}" for obstacle in obstacles(graph, request.traced.layers))
    notes = [*notes, *overflow, *obstacle_notes, *random_numbers(graph, request.traced.layers)]
    with write_bundle(request.target, request.overwrite) as folder:
        with stages("write"):
            by_shape = left_by_shape(flavor_of(request.model), request.model) if request.quantized else ()
            weighted = list(products(graph, request.traced.layers, by_shape))
            if request.quantized:
                by_weights = float_work(weighted, by_weights=True)
                for told in (unknown_work, computed_inputs):
                    notes += told(flavor_of(request.model), request.model, by_weights)
                notes += recurrent_work(weighted, request.precision)
            bundle = _write(folder, graph, weighted, request)
        compared = Comparison()
        if request.verify:
            with stages("verify"):
                compared = compare_with_keras(
                    request.model, request.traced, bundle, request.quantized, request.data
                )
            notes += compared.notes
        bundle = _with_probe(bundle, compared.probe, request)
        record = record_of(
            flavor_of(request.model),
            request.model,
            graph,
            weighted,
            compared,
            data=request.data if request.probe else None,  # whose data may not leave, wants no trace of it
            in_float32=in_float32,
            notes=notes,
            around=request.around,
        )
        bundle = replace(bundle, manifest=replace(bundle.manifest, record=record))
        write_manifest(bundle.path, bundle.manifest)
        plan = None
        if request.engine is not None:
            with stages("build"):
                plan, building = _build(bundle, request, weighted, in_float32)
            notes += building
        elif not available_builders():
            notes.append(_NO_BUILDER)
        report = _report(bundle, graph, weighted, compared, plan, request)
    return replace(report, kept_float32=in_float32, seconds=stages.seconds, notes=tuple(notes))


def _optimise(graph: ir.Model, request: ExportRequest) -> tuple[dict[str, str], list[str]]:
    """Runs the passes on a graph, in place, and checks it; why nodes stayed in float32, and notes."""
    notes: list[str] = []

    def overflowing(graph: ir.Model) -> dict[str, str]:
        reasons, measuring = _overflowing(request, graph)
        notes.extend(measuring)
        return reasons

    layers, stored = request.traced.layers, [t for t in request.quantized if t.stored]
    in_float32 = run_passes(
        graph,
        layers,
        opset=request.opset,
        quantized=Counter(t.layer for t in stored) if request.quantized else None,
        weights={t.layer: Format(t.format, t.block) for t in stored if t.format != "int8"},
        activations={
            t.layer: t.format for t in request.quantized if t.kind == "activation" and t.format != "int8"
        },
        floats=float_type(request.precision),
        keep_float32=request.traced.normalizations,
        find_overflow=overflowing,
    )
    check_graph(graph, layers, request.quantized)
    _check_size(graph, request.external_data)
    if request.engine is not None:
        check_importable(graph, layers)
    return in_float32, notes


def _check_size(graph: ir.Model, external_data: bool | None) -> None:
    arrays = [value.const_value for value in graph.graph.initializers.values()]
    size = sum(array.nbytes for array in arrays if array is not None)
    if external_data is False and size > write.LARGEST:
        raise InputError(
            f"The weights take {size / 1e9:.1f} GB, and one ONNX file holds less than 2 GB. "
            "Received: external_data=False. Leave it out, and they go beside the graph."
        )


def _overflowing(request: ExportRequest, graph: ir.Model) -> tuple[dict[str, str], list[str]]:
    """Which layers float16 cannot hold, and why; and notes that say so."""
    if request.data is None:
        return {}, [_NOT_MEASURED]
    feed = partial(batches, flavor_of(request.model), request.model, request.data)
    try:
        reasons = find_overflow(graph, request.traced, feed, request.batch)
    except RunnerError as e:
        return {}, [f"Whether values overflow float16 was not checked: {e}"]
    return reasons, [f"{reason[0].upper()}{reason[1:]}." for reason in reasons.values()]


def _write(folder: Path, graph: ir.Model, weighted: list[Product], request: ExportRequest) -> Bundle:
    """The ONNX file and the manifest."""
    external = write.write_onnx(graph, folder, external=request.external_data)
    manifest = manifest_of(
        folder,
        request.traced,
        weighted,
        request.quantized,
        batch=request.batch,
        precision=request.precision,
        opset=graph.opset_imports[""],
        external=external,
        labels=request.labels,
        metadata=request.metadata,
    )
    write_manifest(folder, manifest)
    return Bundle(folder, manifest)


def _with_probe(bundle: Bundle, probe: Probe | None, request: ExportRequest) -> Bundle:
    """The bundle with the rows by which `load` tries a runner; the user's own only when they may leave."""
    if probe is None or not request.probe:
        probe = Probe(
            made_up(request.model, request.traced, rows_of(request.traced.inputs, bundle.manifest.batch))
        )
    digest = write_probe(bundle.path, probe, bundle.manifest)
    manifest = replace(bundle.manifest, probe_sha256=digest)
    write_manifest(bundle.path, manifest)
    return Bundle(bundle.path, manifest)


def _build(
    bundle: Bundle, request: ExportRequest, weighted: list[Product], in_float32: dict[str, str]
) -> tuple[Plan, list[str]]:
    """Builds a plan, makes sure it computes what the graph says, and writes it."""
    plan = plan_for(bundle, request.engine or "auto", request.config, request.verbose)
    computes = {record.name: record.computes for record in plan.audit.weighted}
    wrong = unreached(weighted, computes, request.precision, in_float32)
    if wrong and request.strict:
        raise ExportError(f"{wrong} Pass strict=False to keep the engine all the same.")
    if wrong:
        warnings.warn(wrong, stacklevel=4)  # where `export` was called
    file = bundle.path / plan.stamp.file
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(plan.data)
    write_manifest(bundle.path, replace(bundle.manifest, plans=(plan.stamp,)))
    return plan, [*([wrong] if wrong else []), *plan.warnings]


def _report(
    bundle: Bundle,
    graph: ir.Model,
    weighted: list[Product],
    compared: Comparison,
    plan: Plan | None,
    request: ExportRequest,
) -> ExportReport:
    """What was written, as far as the files, the graph and the plan say."""
    files = (bundle.manifest.onnx_file, *bundle.manifest.external_data)
    plans = () if plan is None else ({**asdict(plan.stamp), "computes": plan.audit.precisions},)
    return ExportReport(
        path=request.target,
        name=request.traced.name,
        keras=request.traced.flavor,
        precision=request.precision,
        opset=bundle.manifest.opset,
        onnx_bytes=sum((bundle.path / file).stat().st_size for file in files),
        operators=op_counts(graph),
        int8_layers=layers_of(p for p in weighted if p.int8),
        float_layers=layers_of(p for p in weighted if p.computes == "float"),
        int8_mac_share=int8_share(weighted),
        fp8_layers=layers_of(p for p in weighted if p.computes == "fp8"),
        weights=dict(Counter(t.format for t in request.quantized if t.stored)),
        sparse_layers=layers_of(p for p in weighted if p.two_of_four),
        differences=tuple(asdict(d) for d in compared.differences),
        verified_with=compared.setting.name if compared.setting else None,
        verified_without=compared.setting.without if compared.setting else "",
        plans=plans,
    )
