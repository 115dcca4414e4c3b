"""What comes before and after a model in its bundle, so that it takes what a camera gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from keras_trt._base.nests import Nest, leaves_of, map_nest
from keras_trt._base.tensors import TensorSpec
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.rebuilding.chain import chain_model
from keras_trt._keras.types import Layer, Model
from keras_trt.data.batches import batches
from keras_trt.data.source import is_arrays
from keras_trt.errors import InputError
from keras_trt.trace.signature import signature_of


@dataclass(frozen=True)
class Processing:
    """The layers before and after one model.

    Attributes:
        flavor: Their Keras and the model's.
        before: In order.
        after: In order.
    """

    flavor: Flavor
    before: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()

    @property
    def names(self) -> dict[str, list[str]]:
        """The layers' names, where there are any."""
        sides = {"before": self.before, "after": self.after}
        return {side: [layer.name for layer in layers] for side, layers in sides.items() if layers}

    def preprocessed(self, model: Model, data: object) -> Any:
        """What the model itself makes of data: the data after the layers before it; read anew each time."""
        if data is None or not self.before:
            return data
        specs = self._inputs(model, None, data)
        return _Preprocessed(self.flavor, self._chain(self.before, (), specs, "preprocess"), data)

    def around(self, model: Model, input_shapes: object, data: object) -> Model:
        """The model with its layers before and after; the model itself where there are none.

        Raises:
            InputError: They do not fit together.
        """
        if not (self.before or self.after):
            return model
        specs = self._inputs(model, input_shapes, data)
        return self._chain((*self.before, model), self.after, specs, model.name)

    def _inputs(self, model: Model, input_shapes: object, data: object) -> Nest:
        """A nest of `TensorSpec`s: what a model in front says that it takes, else what this model takes."""
        first: Any = self.before[0] if self.before else model
        says = self.flavor.is_model(first) and (first is model or self.flavor.is_functional(first))
        source: Any = first if says else model
        functional = self.flavor.is_functional(source)
        shapes, used = (None, None) if functional else (input_shapes, data)
        signature = signature_of(self.flavor, source, shapes, used)
        specs = {spec.name: spec for spec in signature.inputs}
        if not says and is_arrays(data):
            given = [str(array.dtype) for array in leaves_of(data)]
            if len(given) == len(specs):
                specs = {n: _typed(specs[n], dtype) for n, dtype in zip(specs, given, strict=True)}
        return map_nest(lambda name, _: specs[name], signature.input_structure)

    def _chain(self, first: Sequence[Layer], after: Sequence[Layer], specs: Nest, name: str) -> Model:
        links = (*first, *after)
        try:
            return chain_model(self.flavor, links, specs, partial(self._names, first[-1], after), name)
        except (TypeError, ValueError, NotImplementedError) as e:
            row = ", ".join(link.name for link in links)
            raise InputError(
                f"`preprocess`, the model and `postprocess` do not fit together in this order: {row}. "
                f"Received inputs: {[(s.name, s.shape, s.dtype) for s in leaves_of(specs)]}. {e}"
            ) from e

    def _names(self, model: Layer, after: Sequence[Layer], nest: Nest) -> Nest:
        """Names for what comes out: of the last model's outputs, or the last layer's name and keys.

        What layers after the model only pass through has the name that it has without them.
        """
        last: Any = after[-1] if after else model
        if not (self.flavor.is_model(last) and self.flavor.is_functional(last)):
            return map_nest(lambda _, key: key or last.name, nest)
        names = signature_of(self.flavor, last).output_structure
        if not after:
            return names
        taken, made = self.flavor.nests(last)
        flat = self.flavor.tf.nest.flatten
        tensors, before = flat(taken), flat(self._names(model, after[:-1], taken))
        if len(tensors) != len(before):
            return names
        passed = {id(tensor): name for tensor, name in zip(tensors, before, strict=True)}
        return [passed.get(id(tensor), name) for tensor, name in zip(flat(made), flat(names), strict=True)]


def processing_of(flavor: Flavor, preprocess: object, postprocess: object) -> Processing:
    """Checks what `export` is given.

    Raises:
        InputError: Something is no layer of the model's Keras.
    """
    return Processing(
        flavor, _layers(flavor, preprocess, "preprocess"), _layers(flavor, postprocess, "postprocess")
    )


class _Preprocessed:
    """Batches of data after the layers before a model."""

    def __init__(self, flavor: Flavor, model: Model, data: object) -> None:
        self.flavor, self.model, self.data = flavor, model, data

    def __iter__(self) -> Iterator[Any]:
        for x in batches(self.flavor, self.model, self.data, name="calibration_data"):
            made = self.model(x, training=False)
            yield (made,) if isinstance(made, tuple | list | Mapping) else made


def _layers(flavor: Flavor, given: object, name: str) -> tuple[Layer, ...]:
    layers = () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
    for layer in layers:
        if not flavor.is_layer(layer):
            raise InputError(
                f"`{name}` must be a layer, a list of layers or a model of {flavor.keras.__name__}, as the "
                f"model is. Received: {type(layer).__module__}.{type(layer).__name__}"
            )
    return layers


def _typed(spec: TensorSpec, dtype: str) -> TensorSpec:
    """Integers stay what they are; floats are what the model takes."""
    return replace(spec, dtype=dtype) if dtype.startswith(("int", "uint", "bool")) else spec
