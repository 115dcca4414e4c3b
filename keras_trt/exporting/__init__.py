"""A Keras model to a checked ONNX file and a bundle: trace, tf2onnx, passes, checks."""

from keras_trt.exporting.export import export as export
from keras_trt.exporting.export_report import ExportReport as ExportReport
from keras_trt.exporting.plan import plan as plan
from keras_trt.exporting.tftrt import TFTRTOptions as TFTRTOptions
from keras_trt.exporting.tftrt import TFTRTReport as TFTRTReport
from keras_trt.exporting.tftrt import export_tftrt as export_tftrt
