"""ONNX to a TensorRT plan."""

from keras_trt.engine.audit import Audit as Audit
from keras_trt.engine.audit import LayerRecord as LayerRecord
from keras_trt.engine.build import Plan as Plan
from keras_trt.engine.build import build_plan as build_plan
from keras_trt.engine.build import plan_for as plan_for
from keras_trt.engine.config import EngineConfig as EngineConfig
from keras_trt.engine.config import check_config as check_config
from keras_trt.engine.machine.cache_folder import plan_cache_folder as plan_cache_folder
from keras_trt.engine.machine.gpu import Gpu as Gpu
from keras_trt.engine.machine.gpu import gpus as gpus
from keras_trt.engine.machine.kinds import available_builders as available_builders
from keras_trt.engine.machine.kinds import choose_kind as choose_kind
