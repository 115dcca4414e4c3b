"""Models and layers one after the other as a model of its own, which holds the very ones it is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from keras_trt._base.names import unique
from keras_trt._base.nests import Nest, map_nest
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Layer, Model


def chain_model(
    flavor: Flavor, links: Sequence[Layer], inputs: Nest, name_outputs: Callable[[Nest], Nest], name: str
) -> Model:
    """A functional model that computes layers and models in a row.

    Args:
        flavor: Their Keras.
        links: Shared, not copied; the graphs that functional ones are part of do not change.
        inputs: A nest of `TensorSpec`s that the first one takes.
        name_outputs: Makes of the nest that the last one returns a nest of names.
        name: Of the new model.
    """
    keras = flavor.keras
    taken: set[str] = set()

    def symbol(spec: Any, _: object) -> Any:
        rows, *shape = (size if isinstance(size, int) else None for size in spec.shape)
        label = unique(spec.name, taken)
        return keras.Input(tuple(shape), batch_size=rows, dtype=spec.dtype, name=label)

    symbols = map_nest(symbol, inputs)
    results = _layer_class(flavor)(links, name=unique("chain", taken))(symbols)
    names = iter(flavor.ops.nest.flatten(name_outputs(results)))

    def output(tensor: Any, _: object) -> Any:
        label = unique(next(names), taken)
        return keras.layers.Activation("linear", autocast=False, name=label, dtype=tensor.dtype)(tensor)

    return keras.Model(symbols, map_nest(output, results), name=name)


@functools.cache
def _layer_class(flavor: Flavor) -> Any:
    class Chain(flavor.keras.layers.Layer):  # type: ignore[name-defined]
        """Computes one layer after the other."""

        def __init__(self, links: Sequence[Layer], **options: object) -> None:
            super().__init__(autocast=False, **options)
            self.links = list(links)

        def build(self, input_shape: object) -> None:
            """Its layers build themselves."""
            self.built = True

        def call(self, inputs: object) -> Any:
            return functools.reduce(lambda x, link: link(x), self.links, inputs)

    return Chain
