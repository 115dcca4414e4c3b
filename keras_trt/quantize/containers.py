"""Layers and models that make their own sub-layers must remember which of them are quantised.

Functional and Sequential models write their layers' configs to a file; a custom layer, an attention
layer or a subclassed model writes only its own and makes its sub-layers anew. Such a container becomes a
twin whose config lists the quantised layers one level below, each by its position among the sub-layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt.errors import ModelError
from keras_trt.quantize.twins import LayerScheme, is_twin, numbered, quantize_layer

Position = tuple[int, ...]


def mark_containers(flavor: Flavor, model: Any) -> None:
    """Makes every container of quantised layers remember them, in place."""
    if not flavor.is_functional(model):
        _remember(flavor, model)
        return
    for child in flavor.children(model):
        if flavor.is_model(child) and flavor.is_functional(child):
            mark_containers(flavor, child)
        else:
            _remember(flavor, child)


def _remember(flavor: Flavor, layer: Any) -> None:
    found = []
    for position, child in _below(flavor, layer):
        _remember(flavor, child)
        if is_twin(child):
            found.append((position, child.quantization))
    if found and is_twin(layer):
        layer.quantization = replace(layer.quantization, children=tuple(found))
    elif found:
        quantize_layer(layer, LayerScheme(children=tuple(found)))


def _below(flavor: Flavor, layer: Any, position: Position = ()) -> Iterator[tuple[Position, Any]]:
    """The layers one level below; functional models in between are looked through."""
    for i, child in enumerate(numbered(flavor, layer)):
        if flavor.is_model(child) and (
            flavor.is_functional(child) or isinstance(child, flavor.keras.Sequential)
        ):
            yield from _below(flavor, child, (*position, i))
        else:
            yield (*position, i), child


def check_adopted(flavor: Flavor, model: Any) -> None:
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
                raise ModelError(
                    f"Layer {path!r} ({type(layer).__name__}) did not make the sub-layers it was saved with, "
                    "so their quantisation is lost. Make them in `__init__` or `build`, always in one order."
                )
