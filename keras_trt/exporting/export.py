"""The front function: a Keras model becomes a bundle with a checked ONNX file and, where possible, a plan."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from keras_trt._base.say import say
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Model
from keras_trt._machine.memory import give_back
from keras_trt.bundle import check_target
from keras_trt.engine import EngineConfig, available_builders
from keras_trt.engine.profile import sizes_of
from keras_trt.exporting.arguments import checked
from keras_trt.exporting.choose_precision import Choice, asks_for_choice, choose_precision, table_of
from keras_trt.exporting.export_onnx import ExportRequest, export_onnx
from keras_trt.exporting.export_report import ExportReport
from keras_trt.exporting.labels import check_metadata, labels_of
from keras_trt.exporting.preparing.check_model import check_types, check_weights, own_prediction
from keras_trt.exporting.preparing.prepared import prepared, switched_off
from keras_trt.exporting.processing import processing_of
from keras_trt.exporting.stages import Stages
from keras_trt.exporting.tftrt import TFTRTOptions, TFTRTReport, check_usable, export_tftrt, options_of
from keras_trt.onnx_passes.opset import DEFAULT_OPSET
from keras_trt.tensorrt_rules import precision as precisions
from keras_trt.tfmot.accept import accept


def export(
    model: Model,
    path: str | Path,
    *,
    precision: str | None = None,
    batch: int | Sequence[int] = (1, 8, 32),
    input_shapes: object = None,
    route: str | TFTRTOptions = "onnx",
    engine: str | None = "auto",
    compute_capabilities: Sequence[str] | None = None,
    config: EngineConfig = EngineConfig(),  # noqa: B008 - frozen
    calibration_data: object = None,
    overwrite: bool = False,
    opset: int | None = None,
    external_data: bool | None = None,
    strict: bool = True,
    verify: bool = True,
    probe: bool = True,
    preprocess: object = None,
    postprocess: object = None,
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    metadata: Mapping[str, Any] | None = None,
    max_drop: float | None = None,
    data: object = None,
    metric: object = None,
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
            `"int8+fp16"` is both; other formats are chosen by `quantize_model`. Inputs and outputs stay as in
            Keras.
        batch: The batch sizes of the engine: a number or (min, opt, max).
        input_shapes: Fixes axes that the model leaves open: a shape with its batch axis, or a list or dict
            of shapes; an entry is a size, None, a name for a dynamic axis or its (min, opt, max). A
            subclassed model that was never called takes its signature here, e.g. of `tf.TensorSpec`s.
        route: `"onnx"`, or `"tf-trt"` (or a `TFTRTOptions`) for TensorFlow's own TensorRT bridge, with
            TensorFlow <= 2.17; then `path` gets a `saved_model` folder, and engine=None leaves its engines
            to be built at the first run.
        engine: `"auto"` builds a plan with what is installed, `"tensorrt"` and `"tensorrt_rtx"` with that,
            None writes ONNX only.
        compute_capabilities: GPU classes of a TensorRT-RTX plan, e.g. `["SM86", "SM89"]`.
        config: Options of the builder, see `EngineConfig`.
        calibration_data: Data to calibrate activation ranges from, when the model has none yet. With a
            float16 part, layers whose values on it go beyond half of float16's range stay in float32. As
            for `calibrate`; an iterator is read to its end.
        overwrite: Replace a bundle that is at `path` already.
        opset: ONNX opset, 17 to 24; 19 by default, which every TensorRT 10 and 11 reads.
        external_data: True writes the weights to `model.onnx.data`, beside the graph, False into
            `model.onnx`; None: beside it only when they would not fit into the file (2 GB).
        strict: Raise when TensorRT would compute a layer in another type than asked for; False warns.
        verify: Compare the exported model with Keras on a few rows: of `calibration_data` when there is any,
            else made up from the inputs' dtypes and the layers behind them.
        probe: Keep those rows in the bundle with what Keras makes of them, so that `load` can try a runner
            where the bundle lands. False keeps made-up rows only, for data that must not leave.
        preprocess: A layer, a list of layers or a model of the same Keras that the bundle computes first; it
            stays float. A model with `Input((240, 320, 3), dtype="uint8")` says what is taken then, `data`
            included; bare layers take the model's shape, and the type of `calibration_data` or the model's.
        postprocess: The same, computed on what the model returns.
        labels: Names of classes, or by output name where there are several outputs; they are in the bundle's
            manifest, in `load(path).labels` and in what Triton serves.
        metadata: A dict of JSON values to travel along, up to 1 MB; in `load(path).metadata`.
        max_drop: Exports a float model in float32, fp16, int8 and int8+fp16, measures each and takes the
            first of int8+fp16, int8, fp16, float32 whose metric is worse than Keras's by no more; the table
            is shown, and in the report. In int8 layers that cost much stay float (see `quantize_model`).
        data: Inputs, or inputs and targets, that `max_drop` is kept on; `calibration_data` when None, whose
            pairs of arrays are inputs and targets then.
        metric: What `max_drop` is of (see `quantize_model`).
        verbose: 1 shows the stages, 0 nothing.

    Returns:
        What was written, printable as a table; a `TFTRTReport` from `route="tf-trt"`.

    Raises:
        ModelError: The model is not built, has weights that are NaN, or quantisers without a range.
        InputError: A wrong argument.
        BundleExistsError: Something is at `path` already.
        ExportError: The model cannot be converted, the result differs from Keras, TensorRT cannot import
            it, or would compute a layer in another type.
        EngineError: TensorRT refused the graph.
        MissingDependencyError: route="tf-trt" without a TensorFlow that has TF-TRT, TensorRT and a GPU.

    Example:
        >>> report = keras_trt.export(quantized, "digits.bundle", overwrite=True)
        >>> round(report.int8_mac_share, 3)
        1.0
    """
    options = {**locals()}  # as given, for a process that exports a model of another backend
    config = checked(options)
    if not check_model(model).has_graphs:
        from keras_trt.exporting.elsewhere.export_elsewhere import export_elsewhere

        return export_elsewhere(options.pop("model"), options.pop("path"), options)
    common: dict[str, Any] = {"batch": sizes_of(batch, "batch"), "verify": verify, "overwrite": overwrite}
    tftrt = options_of(route)
    if tftrt is not None:
        check_usable(
            tftrt,
            opset=opset,
            compute_capabilities=compute_capabilities,
            external_data=external_data,
            config=config.differences() or None,
            labels=labels,
            metadata=metadata,
            max_drop=max_drop,
        )
    target = check_target(path, overwrite)
    noted = check_metadata(metadata)
    rows, measured = _repeatable(calibration_data), _repeatable(data)
    processing = processing_of(check_model(model), preprocess, postprocess)
    inner_data = processing.preprocessed(model, rows)
    flavor, model, accepting = accept(model, inner_data)
    check_weights(flavor, model)
    check_types(flavor, model)
    stages = Stages(verbose)
    choice = Choice(model, precision)
    if asks_for_choice(max_drop, data, metric, precision=precision, around=processing):
        trial = partial(export, batch=batch, input_shapes=input_shapes, engine=None, verify=False, verbose=0)
        budget = {"data": rows if data is None else measured, "max_drop": max_drop, "metric": metric}
        choice = _chosen(model, inner_data, stages, trial, budget)
    operators = tftrt is None
    ready = prepared(choice, processing, inner_data, input_shapes, rows, stages, operators=operators)
    named = labels_of(labels, ready.traced.outputs)
    notes = [*accepting, *own_prediction(flavor, model), *ready.notes]
    if tftrt is not None:
        common |= {"options": tftrt, "build": engine is not None, "precision": ready.precision}
        return export_tftrt(ready.model, ready.traced, ready.tensors, target, notes=notes, **common)
    request = ExportRequest(
        ready.model,
        ready.traced,
        ready.tensors,
        target,
        precision=precisions.carried(ready.precision, (t.scheme for t in ready.tensors)),
        opset=int(opset or DEFAULT_OPSET),
        external_data=external_data,
        data=rows,
        engine=_chosen_engine(engine),
        config=config,
        strict=strict,
        probe=probe,
        labels=named,
        metadata=noted,
        around=processing.names,
        verbose=verbose,
        **common,
    )
    report = export_onnx(request, stages, [*notes, *switched_off(flavor, ready.model), *ready.traced.notes])
    give_back(report.onnx_bytes)
    return replace(report, metric=choice.metric, candidates=choice.candidates)


def _repeatable(data: object) -> Any:
    """The data, which is read more than once; the batches of an iterator are held."""
    return deque(data) if isinstance(data, Iterator) else data


def _chosen(
    model: Model, data: object, stages: Stages, trial: Callable[..., object], budget: dict[str, object]
) -> Choice:
    """The precision within a budget, of which the table is shown."""
    with stages("choose"):
        export_as = partial(trial, calibration_data=data)
        choice = choose_precision(model, calibration_data=data, export=export_as, **budget)
    say(table_of(choice.candidates, choice.metric).text(), stages.verbose)
    return choice


def _chosen_engine(engine: str | None) -> str | None:
    if engine != "auto":
        return engine
    return next(iter(available_builders()), None)
