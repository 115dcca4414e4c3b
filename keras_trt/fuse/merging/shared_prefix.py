"""What several models compute alike: the same layers with the same weights, called on the same tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model

Calls = list[tuple[Any, list[Any], list[Any], Any]]


@dataclass
class Prefix:
    """The calls that several models have in common, from their inputs on.

    Attributes:
        layers: The first model's layers in common.
        numbers: For each model, the number of each tensor in common, by its id; equal ones have one.
        differences: Calls of the first model on tensors in common that are not made by all, and why.
    """

    layers: list[Any] = field(default_factory=list)
    numbers: list[dict[int, int]] = field(default_factory=list)
    differences: list[tuple[str, str]] = field(default_factory=list)

    def weights(self) -> int:
        """How many numbers the layers in common hold."""
        variables = {id(v): v for layer in self.layers for v in getattr(layer, "weights", ())}
        return sum(int(np.prod(tuple(v.shape))) for v in variables.values())


def shared_prefix(flavor: Flavor, models: Sequence[Any]) -> Prefix:
    """What functional models with equal inputs have in common.

    A layer is in common with all its calls or not at all, so that no weight that a model uses twice becomes
    two.
    """
    banned: set[int] = set()
    while True:
        matching = _Matching(flavor, models, banned)
        partly = matching.called_partly()
        if not partly:
            return matching.prefix
        banned |= partly


class _Matching:
    """One attempt, in which some layers of the first model are in common with none."""

    def __init__(self, flavor: Flavor, models: Sequence[Any], banned: set[int]) -> None:
        self.flavor, self.banned = flavor, banned
        self.calls: list[Calls] = [list(flavor.calls(model)) for model in models]
        starts = [flavor.endpoints(model)[0] for model in models]
        self.prefix = Prefix(numbers=[{id(tensor): i for i, tensor in enumerate(start)} for start in starts])
        self.ids = [[id(tensor) for tensor in start] for start in starts]  # by number
        self.readers = [_readers(calls) for calls in self.calls]
        self.pairs: list[dict[int, int]] = [{} for _ in models]  # layers of the others and of the first
        self.taken: list[set[int]] = [set() for _ in models]
        for place in range(len(self.calls[0])):
            self._match(place)

    def _match(self, place: int) -> None:
        layer, reads, _, _ = self.calls[0][place]
        signature = self._signature(0, place)
        if signature is None or not reads:
            return
        if id(layer) in self.banned:
            self.prefix.differences.append((layer.name, "it is called again where the models differ"))
            return
        places, whys = [place], list[str]()
        for model in range(1, len(self.calls)):
            other, why = self._counterpart(model, place, signature)
            if other is None:
                whys.append(why)
            else:
                places.append(other)
        if whys:
            self.prefix.differences.append((layer.name, whys[0]))
            return
        for model, each in enumerate(places):
            made_by, _, made, _ = self.calls[model][each]
            self.pairs[model][id(made_by)] = id(layer)
            self.taken[model].add(each)
            count = len(self.ids[model])
            self.prefix.numbers[model].update({id(tensor): count + i for i, tensor in enumerate(made)})
            self.ids[model] += [id(tensor) for tensor in made]
        if all(layer is not known for known in self.prefix.layers):
            self.prefix.layers.append(layer)

    def _counterpart(self, model: int, place: int, signature: object) -> tuple[int | None, str]:
        """The call of another model that computes the same; None and why there is none."""
        layer, reads, _, _ = self.calls[0][place]
        start = self.ids[model][self.prefix.numbers[0][id(reads[0])]]
        why = "no other model calls a layer there"
        for other in self.readers[model].get(start, ()):
            if other in self.taken[model] or self._signature(model, other) != signature:
                continue
            candidate = self.calls[model][other][0]
            if self.pairs[model].get(id(candidate), id(layer)) != id(layer):
                continue
            difference = difference_between(self.flavor, layer, candidate)
            if difference is None:
                return other, ""
            why = difference
        return None, why

    def _signature(self, model: int, place: int) -> object:
        """The arguments of a call, tensors by number; None where one is not in common."""
        _, reads, _, arguments = self.calls[model][place]
        numbers = self.prefix.numbers[model]
        if any(id(tensor) not in numbers for tensor in reads):
            return None
        tensors = {id(tensor) for tensor in reads}

        def known(value: Any) -> object:
            return numbers[id(value)] if id(value) in tensors else _text(value)

        args, kwargs = arguments
        return self.flavor.ops.nest.map_structure(known, [list(args), dict(kwargs)])

    def called_partly(self) -> set[int]:
        """Layers of the first model of which some calls are in common and some are not, in any model."""
        partly = set()
        for model, calls in enumerate(self.calls):
            for place, (layer, *_) in enumerate(calls):
                if place not in self.taken[model] and id(layer) in self.pairs[model]:
                    partly.add(self.pairs[model][id(layer)])
        return partly


def difference_between(flavor: Flavor, layer: Layer, other: Layer) -> str | None:
    """Why two layers do not compute the same; None where they do, whatever they are called."""
    if layer is other:
        return None
    if type(layer) is not type(other):
        return f"{type(layer).__name__} against {type(other).__name__}"
    if flavor.is_model(layer) and flavor.is_functional(layer):
        return _difference_inside(flavor, layer, other)
    try:
        same = _nameless(layer.get_config()) == _nameless(other.get_config())
    except (TypeError, NotImplementedError):
        return f"{type(layer).__name__} does not tell its config"
    if not same or _attributes(layer) != _attributes(other):
        return "its config differs"
    return _difference_in_weights(_values(flavor, layer), _values(flavor, other))


def _difference_in_weights(values: list[np.ndarray], others: list[np.ndarray]) -> str | None:
    if [value.shape for value in values] != [value.shape for value in others]:
        return "the shapes of its weights differ"
    return None if all(map(np.array_equal, values, others)) else "its weights differ"


def _difference_inside(flavor: Flavor, model: Model, other: Any) -> str | None:
    ends = [flavor.endpoints(each) for each in (model, other)]
    if len(ends[0][0]) != len(ends[1][0]):
        return "it has another number of inputs"
    prefix = shared_prefix(flavor, [model, other])
    if prefix.differences:
        name, why = prefix.differences[0]
        return f"in its layer {name}, {why}"
    outputs = [
        [known.get(id(tensor)) for tensor in tensors]
        for known, (_, tensors) in zip(prefix.numbers, ends, strict=True)
    ]
    if outputs[0] != outputs[1] or model.trainable != other.trainable:
        return "it has other outputs"
    return None


def _readers(calls: Calls) -> dict[int, list[int]]:
    """The places of the calls that read each tensor first."""
    readers: dict[int, list[int]] = {}
    for place, (_, reads, _, _) in enumerate(calls):
        if reads:
            readers.setdefault(id(reads[0]), []).append(place)
    return readers


def _values(flavor: Flavor, layer: Layer) -> list[np.ndarray]:
    return [flavor.array(weight) for weight in getattr(layer, "weights", ())]


def _attributes(layer: Layer) -> dict[str, object]:
    """What a layer holds in the open: a config of a user's class may be incomplete."""
    plain = (bool, int, float, str, tuple, np.ndarray)
    return {
        name: _text(value)
        for name, value in vars(layer).items()
        if isinstance(value, plain) and not name.startswith("_") and name != "name"
    }


def _nameless(config: object) -> object:
    """A config without the names of the layer and of those inside it."""
    if isinstance(config, dict):
        return {str(key): _nameless(value) for key, value in config.items() if key != "name"}
    if isinstance(config, (list, tuple)):
        return [_nameless(value) for value in config]
    return _text(config)


def _text(value: object) -> str:
    """A value as text, an array with all its numbers."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array = np.asarray(value)
        return f"{array.dtype}{array.shape}{array.tobytes().hex()}"
    return repr(value)
