"""Quantisation: placement, fake quantisation, quantised twins, calibration."""

from keras_trt.quantize import calibrators as calibrators
from keras_trt.quantize.calibrate import calibrate as calibrate
from keras_trt.quantize.costs.sensitivity import SensitivityReport as SensitivityReport
from keras_trt.quantize.costs.sensitivity import sensitivity as sensitivity
from keras_trt.quantize.plan_quantization import plan_quantization as plan_quantization
from keras_trt.quantize.quantize_model import quantize_model as quantize_model
from keras_trt.quantize.seen.observe import observe as observe
from keras_trt.quantize.seen.statistics import Statistics as Statistics

__all__ = [
    "SensitivityReport",
    "Statistics",
    "calibrate",
    "calibrators",
    "observe",
    "plan_quantization",
    "quantize_model",
    "sensitivity",
]
