"""The model functions under the name that users of the old example expect: `tfo.keras.quantize_model`."""

from __future__ import annotations

from keras_trt.fuse import fuse_model
from keras_trt.prune import prune_model
from keras_trt.quantize import quantize_model

__all__ = ["fuse_model", "prune_model", "quantize_model"]
