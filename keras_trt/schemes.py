"""The number formats that `quantize_model` takes, as objects with options.

Example:
    >>> quantize_model(model, schemes.Int8(learned_ranges=True))
    >>> quantize_model(model, {"head": schemes.FP8(), ".*": "int8"})
"""

from keras_trt.placement.schemes import FP8, Int4Weights, Int8, Int8Weights, Scheme

__all__ = ["FP8", "Int4Weights", "Int8", "Int8Weights", "Scheme"]
