"""Callbacks for `fit` of both Kerases."""

from keras_trt.callbacks.prune import Prune as Prune
from keras_trt.callbacks.quantize import Quantize as Quantize
from keras_trt.callbacks.sparsity_log import SparsityLog as SparsityLog
