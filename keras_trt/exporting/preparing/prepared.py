"""The model that an export writes, and its trace."""

from __future__ import annotations

from typing import NamedTuple

from keras_trt._base.formats import float_type
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model
from keras_trt.exporting.choose_precision import Choice
from keras_trt.exporting.preparing.check_model import check_kernel_types, check_ranges, computed
from keras_trt.exporting.preparing.quantized import quantized
from keras_trt.exporting.processing import Processing
from keras_trt.exporting.stages import Stages
from keras_trt.quantize.inventory import SWITCHED_OFF, QuantizedTensor, inventory, silent_layers
from keras_trt.tensorrt_rules import precision as precisions
from keras_trt.trace.layers.recurrent import RECURRENT
from keras_trt.trace.trace import Trace, trace


class Prepared(NamedTuple):
    """A model that is ready to be written.

    Attributes:
        model: The model, with what comes before and after it.
        traced: Its trace.
        tensors: What is quantised in what it computes.
        precision: What was asked for, with what the model carries.
        notes: On quantised layers that compute nothing.
    """

    model: Model
    traced: Trace
    tensors: list[QuantizedTensor]
    precision: str
    notes: list[str]


def prepared(
    choice: Choice,
    processing: Processing,
    calibration_data: object,
    input_shapes: object,
    rows: object,
    stages: Stages,
    *,
    operators: bool,
) -> Prepared:
    """Quantises a model as asked, puts it between what comes before and after, and traces it.

    Args:
        choice: The plain model, and the precision it is exported in.
        processing: What comes before and after it.
        calibration_data: What ranges are set from where they are missing: inputs of the plain model.
        input_shapes: As for `export`.
        rows: Inputs of the whole model, or None.
        stages: Shows and times what happens.
        operators: Whether recurrent layers leave as ONNX's operators.

    Raises:
        ModelError: A quantiser has no range, or there is nothing to quantise a float model with.
        InputError: The layers do not fit together.
        ExportError: The model cannot be traced.
    """
    model = processing.around(
        quantized(choice.model, choice.precision, calibration_data, stages), input_shapes, rows
    )
    tensors = inventory(model)
    check_kernel_types(processing.flavor, model, tensors)
    resolved = precisions.resolve(choice.precision, quantized=bool(tensors))
    with stages("trace"):
        traced = trace(model, input_shapes, rows, recurrent=_recurrent(resolved) if operators else ())
    tensors, idle = computed(tensors, traced.computing)
    check_ranges(tensors)
    return Prepared(model, traced, tensors, resolved, idle)


def switched_off(flavor: Flavor, model: Model) -> list[str]:
    """A note on quantised layers that a callback has switched off."""
    silent = silent_layers(flavor, model)
    if not silent:
        return []
    return [f"{len(silent)} layers, {silent[0]} first, are {SWITCHED_OFF}: they leave in float"]


def _recurrent(precision: str) -> tuple[str, ...]:
    """The recurrent layers that leave as operators; TensorRT-RTX 1.7 refuses a GRU in bfloat16."""
    return tuple(kind for kind in RECURRENT if (kind, float_type(precision)) != ("GRU", "bf16"))
