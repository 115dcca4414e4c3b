"""The model that is exported, quantised where the precision asks for it."""

from __future__ import annotations

from typing import Any

from keras_trt._base.formats import is_quantized
from keras_trt._keras.flavor_of import check_model
from keras_trt._keras.types import Model
from keras_trt.errors import ModelError
from keras_trt.exporting.stages import Stages
from keras_trt.quantize.calibrate import calibrate
from keras_trt.quantize.inventory import inventory
from keras_trt.quantize.quantize_model import quantize_model
from keras_trt.tensorrt_rules import precision as precisions


def quantized(model: Model, precision: str | None, data: object, stages: Stages) -> Any:
    """The model, or a quantised and calibrated copy when that was asked for.

    Args:
        model: A model, quantised or not.
        precision: As in `export`.
        data: Calibration data, or None.
        stages: Shows what is done.

    Raises:
        ModelError: There is nothing to quantise it with.
    """
    tensors = inventory(model)
    if not tensors and is_quantized(precisions.resolve(precision, quantized=False)):
        if data is None:
            raise ModelError(
                f"precision={precision!r} needs a quantised model or data to quantise it with. Pass "
                "`calibration_data`, or call `keras_trt.quantize_model(model)` and train it first."
            )
        with stages("quantise"):
            return quantize_model(model, calibration_data=data, verbose=0)
    if data is not None and any(t.kind == "activation" and not t.amax for t in tensors):
        with stages("calibrate"):
            return calibrate(check_model(model).clone(model), data, verbose=0)
    return model
