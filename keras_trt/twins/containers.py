"""Layers and models that make their own sub-layers must remember which of them are quantised.

Functional and Sequential models write their layers' configs to a file; a custom layer, an attention
layer or a model with a config of its own writes only that and makes its sub-layers anew. Such a container
becomes a twin whose config lists the quantised layers one level below, each by its position among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer
from keras_trt.twins.twins import float_class, is_twin, numbered, quantize_layer
from keras_trt.twins.types import LayerScheme

Position = tuple[int, ...]


def mark_containers(flavor: Flavor, model: Layer) -> None:
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
    for position, child in below(flavor, layer):
        _remember(flavor, child)
        if is_twin(child):
            schemes.append((position, child.quantization))
    if schemes and is_twin(layer):
        layer.quantization = replace(layer.quantization, children=tuple(schemes))
    elif schemes:
        quantize_layer(layer, LayerScheme(children=tuple(schemes)))


def below(flavor: Flavor, layer: Layer, position: Position = ()) -> Iterator[tuple[Position, Layer]]:
    """The layers one level below; functional models in between are looked through."""
    for i, child in enumerate(numbered(flavor, layer)):
        sequential = isinstance(child, flavor.keras.Sequential)  # one that is not built has no graph yet
        if (sequential and flavor.writes_layers(float_class(child))) or _writes_layers(flavor, child):
            yield from below(flavor, child, (*position, i))
        else:
            yield (*position, i), child
