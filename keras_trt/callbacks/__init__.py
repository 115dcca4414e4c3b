"""Callbacks for `fit` of both Kerases."""

from keras_trt.callbacks.evaluate_engine import EvaluateEngine as EvaluateEngine
from keras_trt.callbacks.export_best import ExportBest as ExportBest
from keras_trt.callbacks.prune import Prune as Prune
from keras_trt.callbacks.quantize import Quantize as Quantize
from keras_trt.callbacks.sparsity_log import SparsityLog as SparsityLog

__all__ = ["EvaluateEngine", "ExportBest", "Prune", "Quantize", "SparsityLog"]
