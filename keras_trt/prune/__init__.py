"""Masks that hold through training: magnitude, threshold, N:M, blocks."""

from keras_trt._keras.masking import rebind
from keras_trt.prune.prune_model import prune_model

__all__ = ["prune_model", "rebind"]
