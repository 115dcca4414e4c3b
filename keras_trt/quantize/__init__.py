"""Quantisation: placement, fake quantisation, quantised twins, calibration."""

from keras_trt.quantize.calibrate import calibrate as calibrate
from keras_trt.quantize.quantize_model import plan as plan
from keras_trt.quantize.quantize_model import quantize_model as quantize_model
