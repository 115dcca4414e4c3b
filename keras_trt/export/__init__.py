"""A Keras model to a checked ONNX file and a bundle: trace, tf2onnx, passes, checks."""

from keras_trt.export.export import export as export
from keras_trt.export.plan import plan as plan
from keras_trt.export.report import ExportReport as ExportReport
from keras_trt.export.tftrt import TFTRTOptions as TFTRTOptions
from keras_trt.export.tftrt import TFTRTReport as TFTRTReport
from keras_trt.export.tftrt import export_tftrt as export_tftrt
from keras_trt.export.verify import verify as verify
from keras_trt.export.verify_report import VerifyReport as VerifyReport
