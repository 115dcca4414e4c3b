"""Masks that hold through training: magnitude, threshold, N:M, blocks; schedules; how to share out."""

from keras_trt._keras.masking import rebind
from keras_trt.prune.prune_model import prune_model
from keras_trt.prune.schedule import Schedule
from keras_trt.prune.sensitivity import Sensitivity, sensitivity

__all__ = ["Schedule", "Sensitivity", "prune_model", "rebind", "sensitivity"]
