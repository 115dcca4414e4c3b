"""Layers and models that make their own sub-layers must remember which of them are quantised.

Functional and Sequential models write their layers' configs to a file; a custom layer, an attention
layer or a model with a config of its own writes only that and makes its sub-layers anew. Such a container
becomes a twin whose config lists the quantised layers one level below, each by its position among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.kernels import is_keras_own
from keras_trt._keras.types import Layer, Model
from keras_trt.errors import ModelError
from keras_trt.twins.twins import float_class, is_twin, numbered, quantize_layer
from keras_trt.twins.types import LayerScheme

Position = tuple[int, ...]


def mark_containers(flavor: Flavor, model: Model) -> None:
    """Makes every container of quantised layers remember them, in place."""
    if not _writes_layers(flavor, model):
        _remember(flavor, model)
        return
    for child in flavor.children(model):
        mark_containers(flavor, child)


def _writes_layers(flavor: Flavor, layer: Layer) -> bool:
    """Whether the layer's config holds the configs of those inside, with their quantisation."""
    functional = flavor.is_model(layer) and flavor.is_functional(layer)
    return functional and flavor.writes_layers(float_class(layer))


def _remember(flavor: Flavor, layer: Layer) -> None:
    schemes = []
    for position, child in _below(flavor, layer):
        _remember(flavor, child)
        if is_twin(child):
            schemes.append((position, child.quantization))
    if schemes and is_twin(layer):
        layer.quantization = replace(layer.quantization, children=tuple(schemes))
    elif schemes:
        quantize_layer(layer, LayerScheme(children=tuple(schemes)))


def _below(flavor: Flavor, layer: Layer, position: Position = ()) -> Iterator[tuple[Position, Any]]:
    """The layers one level below; functional models in between are looked through."""
    for i, child in enumerate(numbered(flavor, layer)):
        sequential = isinstance(child, flavor.keras.Sequential)  # one that is not built has no graph yet
        if (sequential and flavor.writes_layers(float_class(child))) or _writes_layers(flavor, child):
            yield from _below(flavor, child, (*position, i))
        else:
            yield (*position, i), child


def check_adopted(flavor: Flavor, model: Model) -> None:
    """Makes sure that every remembered descendant came back quantised.

    Raises:
        ModelError: A container made its sub-layers in another way than when it was saved.
    """
    for path, layer in [(model.name, model), *flavor.walk(model)]:
        if not is_twin(layer):
            continue
        there = dict(_below(flavor, layer))
        for position, _ in layer.quantization.children:
            if position not in there or not is_twin(there[position]):
                raise ModelError(_lost(flavor, model, path, layer))


def _lost(flavor: Flavor, model: Model, path: str, layer: Any) -> str:
    """Why a layer has not the sub-layers that it was saved with, and what to write."""
    if layer.built or not is_keras_own(float_class(layer)):
        return (
            f"Layer {path!r} ({type(layer).__name__}) did not make the sub-layers it was saved with, so "
            "their quantisation is lost. Make them in `__init__` or `build`, always in one order."
        )
    around = {"": model} | {above: each for above, each in flavor.walk(model) if path.startswith(f"{above}/")}
    above, own = max(
        ((above, each) for above, each in around.items() if not is_keras_own(float_class(each))),
        key=lambda entry: len(entry[0]),
        default=("", model),
    )
    return (
        f"Layer {path!r} ({type(layer).__name__}) is not built in the loaded model, so that Keras reads none "
        f"of its weights, not of the float model's file either. Give {float_class(own).__name__!r} "
        f"({above or model.name!r}), which holds it, a `build` that builds the layers inside, or leave a "
        "`build` of the model's own out: Keras then calls the model to build it."
    )
