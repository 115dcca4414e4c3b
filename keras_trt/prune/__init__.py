"""Masks that hold through training (magnitude, threshold, N:M, blocks), and channels that really go."""

from keras_trt._keras.masks.masking import reapply, rebind
from keras_trt.prune.channels.importance import ChannelPattern
from keras_trt.prune.channels.shrink import channel_report
from keras_trt.prune.costs.sensitivity import sensitivity
from keras_trt.prune.costs.table import Sensitivity
from keras_trt.prune.facts import sparsity_report
from keras_trt.prune.plot_sparsity import plot_sparsity
from keras_trt.prune.prune_model import prune_model
from keras_trt.prune.schedule import Schedule

__all__ = [
    "ChannelPattern",
    "Schedule",
    "Sensitivity",
    "channel_report",
    "plot_sparsity",
    "prune_model",
    "reapply",
    "rebind",
    "sensitivity",
    "sparsity_report",
]
