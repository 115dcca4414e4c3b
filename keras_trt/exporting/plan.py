"""What quantising a model would do and what TensorRT would refuse of it, without doing either."""

from __future__ import annotations

from keras_trt._base.arguments import check_boolean
from keras_trt._keras.calls.restoring import restoring
from keras_trt._keras.types import Choices, Model
from keras_trt.convert.convert import convert
from keras_trt.errors import ExportError, ModelError
from keras_trt.models.strip import strip
from keras_trt.onnx_passes import run_passes
from keras_trt.onnx_passes.opset import DEFAULT_OPSET
from keras_trt.placement.shape_rules import DEFAULT
from keras_trt.quantize.inventory import inventory
from keras_trt.quantize.plan_quantization import plan_quantization
from keras_trt.reports import Report
from keras_trt.tensorrt_rules.importable import Obstacle, obstacles
from keras_trt.tfmot.accept import accept
from keras_trt.trace.trace import trace

COLUMN = "TensorRT"


def plan(
    model: Model,
    scheme: object = "int8",
    *,
    only: Choices | None = None,
    skip: Choices = (),
    placement: str = DEFAULT,
    check_import: bool = True,
    input_shapes: object = None,
) -> Report:
    """What `quantize_model` with these arguments would do, layer by layer, without doing it.

    Args:
        model: A built Keras 3 or tf_keras model; it is not changed.
        scheme: As in `quantize_model`.
        only: As in `quantize_model`.
        skip: As in `quantize_model`.
        placement: As in `quantize_model`.
        check_import: Also convert the model, and say which operations TensorRT does not import. That is
            nearly all of the time a plan takes, a second or two for ResNet-50.
        input_shapes: As in `export`, for `check_import`.

    Returns:
        A report with the columns layer, kind, inputs, kernels, scheme, reason and, with `check_import`,
        TensorRT, which is empty where nothing is in the way. Operations and inputs of no layer have rows
        of their own at the end. The note says why a model that cannot be converted was not checked.

    Raises:
        ModelError: The model is not built.
        InputError: A choice, `placement` or `input_shapes` does not fit the model.

    Example:
        >>> print(keras_trt.plan(model))
    """
    check_boolean(check_import, "check_import")
    report = plan_quantization(model, scheme, only=only, skip=skip, placement=placement)
    return with_obstacles(report, model, input_shapes) if check_import else report


def with_obstacles(report: Report, model: Model, input_shapes: object = None) -> Report:
    """A plan with what TensorRT's importer says about each layer."""
    try:
        operations = _obstacles(model, input_shapes)
    except (ExportError, ModelError) as e:  # the latter for a subclassed model whose inputs are not known
        return Report(report.title, report.rows, (*report.notes, f"Not checked for TensorRT: {e}"))
    problems_of: dict[str, list[str]] = {}
    for obstacle in operations:
        problems_of.setdefault(obstacle.layer, []).append(_sentence(obstacle))
    rows = [{**row, COLUMN: "; ".join(problems_of.pop(row["layer"], []))} for row in report.rows]
    empty = dict.fromkeys(report.columns, "")
    rows += [
        {**empty, "layer": place, COLUMN: "; ".join(problems)} for place, problems in problems_of.items()
    ]
    return Report(report.title, tuple(rows), (*report.notes, _summary(operations)))


def _obstacles(model: Model, input_shapes: object) -> list[Obstacle]:
    """Those of the float model: quantisers bring none."""
    flavor, model, _ = accept(model)
    with restoring(flavor, model):
        traced = trace(strip(model) if inventory(model) else model, input_shapes)
    graph = convert(traced, DEFAULT_OPSET)
    run_passes(graph, traced.layers, opset=DEFAULT_OPSET)
    return obstacles(graph, traced.layers)


def _sentence(obstacle: Obstacle) -> str:
    doubt = "" if obstacle.refused else " (some versions take it all the same)"
    return f"{obstacle.operator}: {obstacle.problem}{doubt}"


def _summary(operations: list[Obstacle]) -> str:
    refused = sum(obstacle.refused for obstacle in operations)
    if refused:
        return f"TensorRT cannot import {refused} of the operations."
    return "TensorRT imports every operation of the model."
