"""Masks that hold through training (magnitude, threshold, N:M, blocks), and channels that really go."""

from keras_trt._keras.masking import reapply, rebind
from keras_trt.prune.facts import sparsity_report
from keras_trt.prune.importance import ChannelPattern
from keras_trt.prune.prune_model import prune_model
from keras_trt.prune.schedule import Schedule
from keras_trt.prune.sensitivity import sensitivity
from keras_trt.prune.shrink import channel_report
from keras_trt.prune.table import Sensitivity

__all__ = [
    "ChannelPattern",
    "Schedule",
    "Sensitivity",
    "channel_report",
    "prune_model",
    "reapply",
    "rebind",
    "sensitivity",
    "sparsity_report",
]
