"""What must be brought up to date after a model's weights have been set."""

from __future__ import annotations

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model


def renew_derived(flavor: Flavor, model: Model) -> None:
    """Makes layers compute with the weights they hold now; call it after `set_weights`.

    A Normalization that has been adapted computes with constants made from its weights.
    """
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        if isinstance(layer, flavor.keras.layers.Normalization):
            layer.finalize_state()
