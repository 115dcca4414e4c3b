"""A model without what this library has put into it."""

from __future__ import annotations

from keras_trt._keras.masks.masking import unmask
from keras_trt._keras.types import M
from keras_trt.prune.search.state import forget_search
from keras_trt.tfmot.accept import accept
from keras_trt.twins.twins import dequantize_layer, is_twin


def strip(model: M) -> M:
    """Returns a plain copy: no quantisers, no masks; float weights as trained, pruned ones zero.

    Args:
        model: A model made by `quantize_model`, `prune_model` or the callbacks; it is not changed.

    Returns:
        A new model of the same Keras, not compiled.

    Raises:
        ModelError: The model is not built.

    Example:
        >>> keras_trt.strip(pruned).save("float.keras")
    """
    flavor, model, _ = accept(model)
    copy = flavor.clone(model)
    for layer in [copy, *(layer for _, layer in flavor.walk(copy))]:
        if is_twin(layer):
            dequantize_layer(layer)
    flavor.list_weights_anew(copy)
    unmask(flavor, copy)
    forget_search(flavor, copy)
    return copy
