"""Changes to a live model: all or nothing, and what follows from them made anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keras_trt._keras.calls.functions import forget_traces
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import M, Model


@contextmanager
def in_place(flavor: Flavor, model: M) -> Iterator[M]:
    """A context in which a model's layers and weights may be changed, under its strategy."""
    with flavor.strategy_scope(model):
        yield model
    trace_anew(flavor, model)


def trace_anew(flavor: Flavor, model: Model) -> None:
    """Makes a model's compiled steps, and the `tf.function`s in it, follow what its layers do now."""
    flavor.list_weights_anew(model)
    for traced in (model, *(layer for _, layer in flavor.walk(model))):
        forget_traces(traced)
        if flavor.is_model(traced):
            flavor.rebuild_steps(traced)  # a nested model may have been compiled on its own


def renew_derived(flavor: Flavor, model: Model) -> None:
    """Makes layers compute with the weights they hold now; call it after `set_weights`.

    A Normalization that has been adapted computes with constants made from its weights.
    """
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        if isinstance(layer, flavor.keras.layers.Normalization):
            layer.finalize_state()
