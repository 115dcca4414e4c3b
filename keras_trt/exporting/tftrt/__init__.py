"""`export(..., route="tf-trt")`: a SavedModel whose parts run in TensorRT inside TensorFlow.

TF-TRT is TensorFlow's own bridge, built into TensorFlow up to 2.17. Its converter is
`tensorflow.python.compiler.tensorrt.trt_convert.TrtGraphConverterV2`.
"""

from keras_trt.exporting.tftrt.convert import TFTRTReport as TFTRTReport
from keras_trt.exporting.tftrt.convert import check_usable as check_usable
from keras_trt.exporting.tftrt.convert import export_tftrt as export_tftrt
from keras_trt.exporting.tftrt.options import TFTRTOptions as TFTRTOptions
from keras_trt.exporting.tftrt.options import options_of as options_of
