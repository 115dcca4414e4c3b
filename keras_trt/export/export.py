"""The front function: a Keras model becomes a bundle with a checked ONNX file and, where possible, a plan."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from keras_trt._deps import available
from keras_trt._keras.flavor import check_model
from keras_trt._keras.trace import Trace, run, trace
from keras_trt.bundle import (
    Bundle,
    Manifest,
    TensorSpec,
    check_target,
    sha256_of,
    write_bundle,
    write_manifest,
)
from keras_trt.engine import Plan, available_builders, build_plan
from keras_trt.engine.profile import sizes_of
from keras_trt.errors import ExportError, InputError, ModelError, RunnerError
from keras_trt.export import precision as precisions
from keras_trt.export.check import check_graph, check_ranges, check_weights
from keras_trt.export.convert import convert
from keras_trt.export.numbers import (
    Difference,
    check_numbers,
    compare,
    probe,
    without_bfloat16,
    without_rounding,
)
from keras_trt.export.passes import run_passes
from keras_trt.export.passes.grid import Format
from keras_trt.export.passes.opset import DEFAULT_OPSET, OPSETS
from keras_trt.export.report import ExportReport
from keras_trt.export.stats import Product, int8_share, op_counts, products
from keras_trt.export.write import write_onnx
from keras_trt.quantize.inventory import QuantizedTensor, inventory
from keras_trt.quantize.range_loss import made_symmetric

_ROUTES = ("onnx", "tf-trt")
_ENGINES = ("auto", "tensorrt", "tensorrt_rtx", None)


def export(
    model: Any,
    path: str | Path,
    *,
    precision: str | None = None,
    batch: int | Sequence[int] = (1, 8, 32),
    input_shapes: Any = None,
    route: str = "onnx",
    engine: str | None = "auto",
    compute_capabilities: Sequence[str] | None = None,
    calibration_data: Any = None,
    overwrite: bool = False,
    opset: int | None = None,
    verify: bool = True,
    verbose: int = 1,
) -> ExportReport:
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
        route: `"onnx"`, or `"tf-trt"` for TensorFlow's own TensorRT bridge (TensorFlow <= 2.17).
        engine: `"auto"` builds a plan with what is installed, `"tensorrt"` and `"tensorrt_rtx"` with that,
            None writes ONNX only.
        compute_capabilities: GPU classes of a TensorRT-RTX plan, e.g. `["SM86", "SM89"]`.
        calibration_data: Data to calibrate activation ranges from, when the model has none yet.
        overwrite: Replace a bundle that is at `path` already.
        opset: ONNX opset, 17 to 24; 19 by default, which every TensorRT 10 and 11 reads.
        verify: Compare the exported model with Keras on a probe batch.
        verbose: 1 shows the stages, 0 nothing.

    Returns:
        What was written, printable as a table.

    Raises:
        ModelError: The model is not built, has weights that are NaN, or quantisers without a range.
        InputError: A wrong argument.
        BundleExistsError: Something is at `path` already.
        ExportError: The model cannot be converted, or the result differs from Keras.
        EngineError: TensorRT refused the graph.

    Example:
        >>> report = export(model, "digits.bundle")  # doctest: +SKIP
        >>> report.int8_mac_share  # doctest: +SKIP
        0.998
    """
    _check_arguments(route, engine, opset)
    target = check_target(path, overwrite)
    flavor = check_model(model)
    model, notes = made_symmetric(model, calibration_data)
    check_weights(flavor, model)
    stages = _Stages(verbose)
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
    with stages("convert"):
        graph = convert(traced, job.opset)
    with stages("optimise"):
        kept = run_passes(
            graph,
            traced.layers,
            opset=job.opset,
            quantized=Counter(t.layer for t in found if t.stored) if found else None,
            weights={t.layer: Format(t.format, t.block) for t in found if t.stored and t.format != "int8"},
            activations={t.layer: t.format for t in found if t.kind == "activation" and t.format != "int8"},
            floats=precisions.float_type(job.precision),
            keep_float32=traced.normalizations,
        )
        check_graph(graph, traced.layers, found)
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


@dataclass
class _Stages:
    """Times the stages and shows them as they pass."""

    verbose: int
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        if self.verbose:
            print(f"{name:>12} ...", end="", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
        if self.verbose:
            print(f"\r{name:>12} {self.seconds[name]:7.2f} s", flush=True)


def _check_arguments(route: str, engine: str | None, opset: int | None) -> None:
    if route not in _ROUTES:
        raise InputError(f"`route` must be one of {list(_ROUTES)}. Received: route={route!r}")
    if engine not in _ENGINES:
        raise InputError(f"`engine` must be one of {list(_ENGINES)}. Received: engine={engine!r}")
    if opset is not None and opset not in OPSETS:
        raise InputError(
            f"`opset` must be a number from {OPSETS[0]} to {OPSETS[-1]}. Received: opset={opset!r}"
        )


def _quantized(model: Any, precision: str | None, data: Any, stages: _Stages) -> Any:
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
    stages: _Stages,
) -> ExportReport:
    """Writes everything into the bundle's working folder."""
    opset = graph.opset_imports[""]
    with stages("write"):
        external = write_onnx(graph, folder)
        weighted = list(products(graph, traced.layers))
        manifest = _manifest(folder, traced, weighted, found, job, opset, external)
        write_manifest(folder, manifest)
    bundle = Bundle(folder, manifest)
    notes: list[str] = []
    differences: list[Difference] = []
    runner = None
    if job.verify:
        with stages("verify"):
            differences, runner = _verified(model, traced, bundle, job, notes)
    plans: list[dict[str, Any]] = []
    if job.engine is not None:
        with stages("build"):
            plan = _built(bundle, job, weighted)
        manifest = replace(manifest, plans=(plan.stamp,))
        write_manifest(folder, manifest)
        plans.append({**asdict(plan.stamp), "computes": plan.audit.precisions})
        notes += plan.warnings
    elif not available_builders():
        notes.append(
            "No TensorRT builder is installed, so the bundle holds no plan. pip install 'keras-trt[rtx]'"
        )
    return ExportReport(
        path=target,
        name=traced.name,
        keras=traced.flavor,
        precision=job.precision,
        opset=opset,
        onnx_bytes=sum((folder / f).stat().st_size for f in (manifest.onnx_file, *external)),
        operators=op_counts(graph),
        int8_layers=_layers(p for p in weighted if p.int8),
        float_layers=_layers(p for p in weighted if p.computes == "float"),
        int8_mac_share=int8_share(weighted),
        fp8_layers=_layers(p for p in weighted if p.computes == "fp8"),
        weights=dict(Counter(t.format for t in found if t.stored)),
        sparse_layers=_layers(p for p in weighted if p.two_of_four),
        differences=tuple(asdict(d) for d in differences),
        verified_with=runner,
        plans=tuple(plans),
        kept_float32=kept,
        seconds=stages.seconds,
        notes=tuple(notes),
    )


def _layers(found: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(p.layer for p in found))


def _manifest(
    folder: Path,
    traced: Trace,
    weighted: list[Product],
    found: list[QuantizedTensor],
    job: _Job,
    opset: int,
    external: Mapping[str, str],
) -> Manifest:
    static = next((i.shape[0] for i in traced.inputs if i.shape and isinstance(i.shape[0], int)), None)
    zeros = {p.layer: round(p.zeros, 4) for p in weighted if p.zeros}
    return Manifest(
        name=traced.name,
        keras_trt_version=_version(),
        keras=traced.flavor,
        inputs=tuple(TensorSpec(i.name, i.shape, i.dtype) for i in traced.inputs),
        outputs=tuple(TensorSpec(o.name, o.shape, o.dtype) for o in traced.outputs),
        input_structure=traced.input_structure,
        output_structure=traced.output_structure,
        batch=job.batch if static is None else (static, static, static),
        precision=job.precision,
        opset=opset,
        onnx_sha256=sha256_of(folder / "model.onnx"),
        external_data=dict(external),
        axis_sizes=traced.axis_sizes,
        quantization={
            "weights": dict(Counter(t.format for t in found if t.stored)),
            "int8_layers": list(_layers(p for p in weighted if p.int8)),
            "int8_mac_share": round(int8_share(weighted), 4),
            "ranges": {t.name: t.amax for t in found if t.kind == "activation"},
        },
        sparsity={"2:4": list(_layers(p for p in weighted if p.two_of_four)), "zeros": zeros},
    )


def _verified(
    model: Any, traced: Trace, bundle: Bundle, job: _Job, notes: list[str]
) -> tuple[list[Difference], str | None]:
    """Runs Keras and the ONNX file on a probe batch."""
    from keras_trt.runtime.select import CPU_RUNNERS

    low, _, high = bundle.manifest.batch
    feeds = probe(traced, max(low, min(2, high)))
    refusals = []
    with ExitStack() as stack:
        if job.precision == "int8+bf16":
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
            if precisions.is_int8(job.precision):
                unrounded = _unrounded(model, traced, bundle, CPU_RUNNERS[name], feeds, job.precision)
                rounding = {d.output: d.relative for d in compare(unrounded, expected)}
            check_numbers(differences, job.precision, rounding)
            return differences, name
    reason = "; ".join(refusals) or "no CPU runner is installed (pip install openvino)"
    notes.append(f"Not compared with Keras: {reason}")
    return [], None


def _unrounded(
    model: Any, traced: Trace, bundle: Bundle, runner: Any, feeds: Mapping[str, Any], precision: str
) -> dict[str, Any]:
    """Compares with the activations in float on both sides, to float precision; returns Keras's outputs."""
    from keras_trt.quantize.quantizer import observing

    with observing(lambda quantizer, tensor: None):
        expected = run(model, traced, feeds)
    with tempfile.TemporaryDirectory() as folder:
        graph = without_rounding(onnx.load(bundle.onnx_path))
        onnx.save(graph, Path(folder) / bundle.manifest.onnx_file)
        with runner(replace(bundle, path=Path(folder))) as running:
            check_numbers(compare(expected, running.run(feeds)), precisions.float_type(precision))
    return expected


def _built(bundle: Bundle, job: _Job, weighted: list[Product]) -> Plan:
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
    wanted = {"int8": "int8", "fp8": "float8_e4m3fn"}  # as the graph says, in TensorRT's words
    slow = [p for p in weighted if p.computes in wanted and computes.get(p.node) != wanted[p.computes]]
    if slow:
        raise ExportError(
            f"TensorRT would compute {len(slow)} quantised layers in {computes[slow[0].node]}: "
            f"{', '.join(p.layer for p in slow[:10])}. This is a fault of the export; please report it."
        )
    file = bundle.path / plan.stamp.file
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(plan.data)
    return plan


def _version() -> str:
    try:
        return metadata.version("keras-trt")
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+checkout"
