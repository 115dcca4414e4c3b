"""Training a quantised model on what its own float self answers."""

from keras_trt.distillation.self_distillation import SelfDistillation

__all__ = ["SelfDistillation"]
