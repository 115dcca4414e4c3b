"""Fewer layers, fewer models, same predictions: BatchNormalization folded, models merged."""

from keras_trt.fuse.fuse_model import fuse_model, fusion_report
from keras_trt.fuse.merging.merge_models import merge_models, merge_report

__all__ = ["fuse_model", "fusion_report", "merge_models", "merge_report"]
