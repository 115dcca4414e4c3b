"""ONNX to a TensorRT plan."""

from keras_trt.engine.audit import Audit as Audit
from keras_trt.engine.audit import LayerRecord as LayerRecord
from keras_trt.engine.build import Plan as Plan
from keras_trt.engine.build import available_builders as available_builders
from keras_trt.engine.build import build_plan as build_plan
from keras_trt.engine.gpu import Gpu as Gpu
from keras_trt.engine.gpu import gpus as gpus
