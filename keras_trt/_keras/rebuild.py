"""Copies of models that Keras's `clone_model` cannot make, and the state a clone must carry."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_trt.errors import ModelError

if TYPE_CHECKING:
    from keras_trt._keras.flavor import Flavor


def rebuild(flavor: Flavor, model: Any) -> Any:
    """A fresh copy of a subclassed model, through a `.keras` file (which needs its `get_config`)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            model.save(file)
            # The file was written a line ago, so functions in it (Lambda) are the user's own.
            return flavor.keras.models.load_model(
                file, compile=False, safe_mode=False, custom_objects=_classes(flavor, model)
            )
        except (TypeError, ValueError, NotImplementedError) as e:
            raise ModelError(
                f"The subclassed model {model.name!r} ({type(model).__name__}) cannot be copied: {e}. "
                "Give it `get_config`/`from_config`, or work on it in place with "
                "`keras_trt.callbacks.Quantize` / `keras_trt.callbacks.Prune`."
            ) from e


def known_classes(flavor: Flavor, model: Any) -> Any:
    """A context in which the user's own layer classes inside `model` need not be registered with Keras."""
    found = _classes(flavor, model).items()
    own = {name: cls for name, cls in found if not hasattr(flavor.keras.layers, name)}
    return flavor.keras.saving.custom_object_scope(own)


def _classes(flavor: Flavor, model: Any) -> dict[str, Any]:
    """The classes of a model's layers by name, so that unregistered ones can be loaded back."""
    layers = [layer for _, layer in flavor.walk(model)]
    return {type(obj).__name__: type(obj) for obj in [model, *layers]}


def copy_state(flavor: Flavor, model: Any, copy: Any) -> Any:
    """Gives `copy` the weights and the per-layer `trainable` flags of `model`."""
    sources = dict(_own_weights(flavor, model))
    for key, variables in _own_weights(flavor, copy):
        for new, old in zip(variables, sources[key], strict=True):
            new.assign(flavor.raw(old))
    renew_derived(flavor, copy)
    flags = {path: layer.trainable for path, layer in flavor.walk(model)}
    for path, layer in flavor.walk(copy):
        if path in flags and layer.trainable != flags[path] and not flavor.children(layer):
            layer.trainable = flags[path]
    return copy


def _own_weights(
    flavor: Flavor, layer: Any, key: tuple[Any, ...] = (), seen: set[int] | None = None
) -> Iterator[tuple[tuple[Any, ...], list[Any]]]:
    """The weights of each layer without those of the layers inside, by the layer's place in the model.

    A layer that was quantised in place got its quantisers after its sub-layers, its clone before them: both
    are numbered on their own.
    """
    seen = set() if seen is None else seen
    children = flavor.children(layer)
    inside = {id(weight) for child in children for weight in child.weights}
    yield key, [weight for weight in layer.weights if id(weight) not in inside]
    numbers: Counter[bool] = Counter()
    for child in children:
        kind = flavor.is_quantizer(child)
        if id(child) not in seen:
            seen.add(id(child))
            yield from _own_weights(flavor, child, (*key, kind, numbers[kind]), seen)
        numbers[kind] += 1


def renew_derived(flavor: Flavor, model: Any) -> None:
    """Makes layers compute with the weights they hold now; call it after `set_weights`.

    A Normalization that has been adapted computes with constants made from its weights.
    """
    for layer in (model, *(layer for _, layer in flavor.walk(model))):
        if isinstance(layer, flavor.keras.layers.Normalization):
            layer.finalize_state()
