"""What is done, without training, about the accuracy that rounding costs."""

from keras_trt.quantize.recovery.correction import BIAS, GAIN
from keras_trt.quantize.recovery.equalization import EQUALIZATION, SMOOTH_QUANT

NAMES = (EQUALIZATION, SMOOTH_QUANT, BIAS, GAIN)
