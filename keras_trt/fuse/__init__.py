"""Fewer layers, same predictions: BatchNormalization folded into the layer before it."""

from keras_trt.fuse.fuse_model import fuse_model, fusion_report

__all__ = ["fuse_model", "fusion_report"]
