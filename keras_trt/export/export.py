"""The front function: a Keras model becomes a bundle with a checked ONNX file and, where possible, a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from keras_trt._keras.flavor import check_model
from keras_trt._keras.trace import Trace, trace
from keras_trt.bundle import Bundle, check_target, write_bundle, write_manifest
from keras_trt.engine import Plan, available_builders, build_plan
from keras_trt.engine.profile import sizes_of
from keras_trt.errors import InputError, ModelError
from keras_trt.export import precision as precisions
from keras_trt.export.check import check_graph, check_ranges, check_weights
from keras_trt.export.comparison import Comparison, compare_with_keras
from keras_trt.export.convert import convert
from keras_trt.export.importable import check_importable, obstacles
from keras_trt.export.manifest import layers_of, manifest_of
from keras_trt.export.passes import run_passes
from keras_trt.export.passes.grid import Format
from keras_trt.export.passes.opset import DEFAULT_OPSET, OPSETS
from keras_trt.export.reached import check_reached
from keras_trt.export.report import ExportReport
from keras_trt.export.stages import Stages
from keras_trt.export.stats import Product, int8_share, op_counts, products
from keras_trt.export.tftrt import TFTRTOptions, TFTRTReport, check_usable, export_tftrt, options_of
from keras_trt.export.write import write_onnx
from keras_trt.quantize.inventory import QuantizedTensor, inventory
from keras_trt.quantize.range_loss import made_symmetric

_BUILDER = "pip install 'keras-trt[rtx]'"
_ENGINES = ("auto", "tensorrt", "tensorrt_rtx", None)


def export(
    model: Any,
    path: str | Path,
    *,
    precision: str | None = None,
    batch: int | Sequence[int] = (1, 8, 32),
    input_shapes: Any = None,
    route: str | TFTRTOptions = "onnx",
    engine: str | None = "auto",
    compute_capabilities: Sequence[str] | None = None,
    calibration_data: Any = None,
    overwrite: bool = False,
    opset: int | None = None,
    verify: bool = True,
    verbose: int = 1,
) -> ExportReport | TFTRTReport:
    """Writes a model as a bundle: `model.onnx`, TensorRT plans and a manifest. Load it with `load(path)`.

    Inputs and outputs are named after Keras's: an input after its `Input` layer, an output after the layer
    that makes it; models without a layer graph use the keys of their dicts, else `input_1`, `output_1`, ...

    Args:
        model: A built Keras 3 or tf_keras model, quantised or not; it is left as it was.
        path: The folder to write.
        precision: None keeps what the model carries: int8 if quantised, float32 around it. `"fp16"` and
            `"bf16"` choose the float part, `"int8"` quantises a float model with `calibration_data`, and
            `"int8+fp16"` is both. Inputs and outputs stay as in Keras.
        batch: The batch sizes of the engine: a number or (min, opt, max).
        input_shapes: Fixes axes that the model leaves open: a shape with its batch axis, or a list or dict
            of shapes; an entry is a size, None, a name for a dynamic axis or its (min, opt, max).
        route: `"onnx"`, or `"tf-trt"` (or a `TFTRTOptions`) for TensorFlow's own TensorRT bridge, with
            TensorFlow <= 2.17; then `path` gets a `saved_model` folder, and engine=None leaves its engines
            to be built at the first run.
        engine: `"auto"` builds a plan with what is installed, `"tensorrt"` and `"tensorrt_rtx"` with that,
            None writes ONNX only.
        compute_capabilities: GPU classes of a TensorRT-RTX plan, e.g. `["SM86", "SM89"]`.
        calibration_data: Data to calibrate activation ranges from, when the model has none yet.
        overwrite: Replace a bundle that is at `path` already.
        opset: ONNX opset, 17 to 24; 19 by default, which every TensorRT 10 and 11 reads.
        verify: Compare the exported model with Keras on a probe batch.
        verbose: 1 shows the stages, 0 nothing.

    Returns:
        What was written, printable as a table; a `TFTRTReport` from `route="tf-trt"`.

    Raises:
        ModelError: The model is not built, has weights that are NaN, or quantisers without a range.
        InputError: A wrong argument.
        BundleExistsError: Something is at `path` already.
        ExportError: The model cannot be converted, or the result differs from Keras.
        EngineError: TensorRT refused the graph.
        MissingDependencyError: route="tf-trt" without a TensorFlow that has TF-TRT, TensorRT and a GPU.

    Example:
        >>> report = export(model, "digits.bundle")  # doctest: +SKIP
        >>> report.int8_mac_share  # doctest: +SKIP
        0.998
    """
    _check_arguments(engine, opset)
    tftrt = options_of(route)
    if tftrt is not None:
        check_usable(tftrt, opset=opset, compute_capabilities=compute_capabilities)
    target = check_target(path, overwrite)
    flavor = check_model(model)
    model, notes = made_symmetric(model, calibration_data)
    check_weights(flavor, model)
    stages = Stages(verbose)
    model = _quantized(model, precision, calibration_data, stages)
    found = inventory(model)
    check_ranges(found)
    job = _Job(
        batch=sizes_of(batch, "batch"),
        precision=precisions.resolve(precision, quantized=bool(found)),
        opset=opset or DEFAULT_OPSET,
        engine=_chosen_engine(engine),
        compute_capabilities=compute_capabilities,
        verify=verify,
        verbose=verbose,
    )
    with stages("trace"):
        traced = trace(model, input_shapes)
    if tftrt is not None:
        return export_tftrt(
            model,
            traced,
            found,
            target,
            options=tftrt,
            precision=job.precision,
            batch=job.batch,
            build=engine is not None,
            verify=verify,
            overwrite=overwrite,
            notes=notes,
        )
    with stages("convert"):
        graph = convert(traced, job.opset)
    with stages("optimise"):
        kept = _optimised(graph, traced, found, job)
    with write_bundle(target, overwrite) as folder:
        report = _fill(folder, target, model, traced, graph, kept, found, job, stages)
    return replace(report, notes=(*notes, *report.notes))


@dataclass(frozen=True)
class _Job:
    """The arguments of one export, checked."""

    batch: tuple[int, int, int]
    precision: str
    opset: int
    engine: str | None
    compute_capabilities: Sequence[str] | None
    verify: bool
    verbose: int


def _optimised(graph: ir.Model, traced: Trace, found: list[QuantizedTensor], job: _Job) -> dict[str, str]:
    """Runs the passes on a converted graph, in place, and checks it; why nodes stayed in float32."""
    stored = [t for t in found if t.stored]
    kept = run_passes(
        graph,
        traced.layers,
        opset=job.opset,
        quantized=Counter(t.layer for t in stored) if found else None,
        weights={t.layer: Format(t.format, t.block) for t in stored if t.format != "int8"},
        activations={t.layer: t.format for t in found if t.kind == "activation" and t.format != "int8"},
        floats=precisions.float_type(job.precision),
        keep_float32=traced.normalizations,
    )
    check_graph(graph, traced.layers, found)
    if job.engine is not None:
        check_importable(graph, traced.layers)
    return kept


def _check_arguments(engine: str | None, opset: int | None) -> None:
    if engine not in _ENGINES:
        raise InputError(f"`engine` must be one of {list(_ENGINES)}. Received: engine={engine!r}")
    if opset is not None and opset not in OPSETS:
        raise InputError(
            f"`opset` must be a number from {OPSETS[0]} to {OPSETS[-1]}. Received: opset={opset!r}"
        )


def _quantized(model: Any, precision: str | None, data: Any, stages: Stages) -> Any:
    """The model, or a quantised and calibrated copy when that was asked for."""
    from keras_trt.quantize import calibrate, quantize_model

    found = inventory(model)
    wants_int8 = precision is not None and "int8" in str(precision).split("+")
    if wants_int8 and not found:
        if data is None:
            raise ModelError(
                f"precision={precision!r} needs a quantised model or data to quantise it with. Pass "
                "`calibration_data`, or call `keras_trt.quantize_model(model)` and train it first."
            )
        with stages("quantise"):
            return quantize_model(model, calibration_data=data, verbose=0)
    if data is not None and any(t.kind == "activation" and not t.amax for t in found):
        with stages("calibrate"):
            return calibrate(check_model(model).clone(model), data, verbose=0)
    return model


def _chosen_engine(engine: str | None) -> str | None:
    if engine != "auto":
        return engine
    return next(iter(available_builders()), None)


def _fill(
    folder: Path,
    target: Path,
    model: Any,
    traced: Trace,
    graph: ir.Model,
    kept: dict[str, str],
    found: list[QuantizedTensor],
    job: _Job,
    stages: Stages,
) -> ExportReport:
    """Writes everything into the bundle's working folder."""
    opset = graph.opset_imports[""]
    with stages("write"):
        external = write_onnx(graph, folder)
        weighted = list(products(graph, traced.layers))
        manifest = manifest_of(
            folder,
            traced,
            weighted,
            found,
            batch=job.batch,
            precision=job.precision,
            opset=opset,
            external=external,
        )
        write_manifest(folder, manifest)
    bundle = Bundle(folder, manifest)
    compared = Comparison()
    if job.verify:
        with stages("verify"):
            compared = compare_with_keras(model, traced, bundle)
    plans: list[dict[str, Any]] = []
    refused = obstacles(graph, traced.layers)
    notes = compared.notes + tuple(f"TensorRT: layer {o.layer!r}: {o.operator}: {o.problem}" for o in refused)
    if job.engine is not None:
        with stages("build"):
            plan = _built(bundle, job, weighted, kept)
        manifest = replace(manifest, plans=(plan.stamp,))
        write_manifest(folder, manifest)
        plans.append({**asdict(plan.stamp), "computes": plan.audit.precisions})
        notes = (*notes, *plan.warnings)
    elif not available_builders():
        notes = (*notes, "The bundle holds no plan: no TensorRT builder is installed. " + _BUILDER)
    return ExportReport(
        path=target,
        name=traced.name,
        keras=traced.flavor,
        precision=job.precision,
        opset=opset,
        onnx_bytes=sum((folder / f).stat().st_size for f in (manifest.onnx_file, *external)),
        operators=op_counts(graph),
        int8_layers=layers_of(p for p in weighted if p.int8),
        float_layers=layers_of(p for p in weighted if p.computes == "float"),
        int8_mac_share=int8_share(weighted),
        fp8_layers=layers_of(p for p in weighted if p.computes == "fp8"),
        weights=dict(Counter(t.format for t in found if t.stored)),
        sparse_layers=layers_of(p for p in weighted if p.two_of_four),
        differences=tuple(asdict(d) for d in compared.differences),
        verified_with=compared.runner,
        plans=tuple(plans),
        kept_float32=kept,
        seconds=stages.seconds,
        notes=notes,
    )


def _built(bundle: Bundle, job: _Job, weighted: list[Product], kept: dict[str, str]) -> Plan:
    """Builds a plan, makes sure it computes what the graph says, and writes it."""
    plan = build_plan(
        bundle.onnx_path,
        kind=job.engine or "auto",
        batch=bundle.manifest.batch,
        input_shapes=bundle.manifest.axis_sizes,
        compute_capabilities=job.compute_capabilities,
        sparse_weights=any(p.two_of_four for p in weighted),
        verbose=job.verbose,
    )
    computes = {record.name: record.computes for record in plan.audit.weighted}
    check_reached(weighted, computes, job.precision, kept)
    file = bundle.path / plan.stamp.file
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(plan.data)
    return plan
