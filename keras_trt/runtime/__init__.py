"""Runs bundles, with or without a GPU, without TensorFlow."""

from keras_trt.runtime.choosing.select import select_runner as select_runner
from keras_trt.runtime.engine_model import EngineModel as EngineModel
from keras_trt.runtime.loading import load as load
from keras_trt.runtime.runners.runner import Runner as Runner
