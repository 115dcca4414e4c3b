"""A function of a model as a model of its own, which holds the very layers of the first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from keras_trt._base.names import unique
from keras_trt._base.nests import Nest
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model, Tensor
from keras_trt.errors import ModelError


def function_model(
    flavor: Flavor, model: Model, function: Callable[..., Any], inputs: dict[str, Nest], name: str
) -> Model:
    """A functional model that computes `function(model, **inputs)`.

    Args:
        flavor: The model's Keras.
        model: Shared, not copied.
        function: Returns a tensor or a nest of tensors.
        inputs: By argument, a nest of specs with `.shape`, the open batch axis included, and `.dtype`.
        name: Of the new model.
    """
    keras = flavor.keras
    taken: set[str] = set()

    def symbol(spec: Any, key: str) -> Any:
        rows, *shape = spec.shape  # tf_keras takes no whole shape without an open axis
        dtype = flavor.tf.as_dtype(spec.dtype).name
        return keras.Input(tuple(shape), batch_size=rows, dtype=dtype, name=unique(key, taken))

    def output(tensor: Tensor, key: str) -> Any:
        return keras.layers.Activation("linear", autocast=False, name=unique(key, taken))(tensor)

    symbols = {key: _with_paths(symbol, nest, key) for key, nest in inputs.items()}
    results = _layer_class(flavor)(model, function, name=name)(symbols)
    return keras.Model(symbols, _with_paths(output, results, ""), name=name)


def _with_paths(function: Callable[[Any, str], Any], nest: Nest, path: str) -> Nest:
    """The nest with `function(leaf, path)` for each leaf; paths are keys and places, as `cache_0_1`."""
    if isinstance(nest, dict):
        return {key: _with_paths(function, child, _join(path, key)) for key, child in nest.items()}
    if isinstance(nest, list | tuple):
        mapped = [_with_paths(function, child, _join(path or "output", i)) for i, child in enumerate(nest)]
        return tuple(mapped) if isinstance(nest, tuple) else mapped
    return function(nest, path or "output")


def _join(path: str, key: object) -> str:
    return f"{path}_{key}" if path else str(key)


@functools.cache
def _layer_class(flavor: Flavor) -> Any:
    class FunctionOfModel(flavor.keras.layers.Layer):  # type: ignore[name-defined]
        """Computes a function of a model that it holds."""

        def __init__(self, model: Model, function: Callable[..., object], **options: object) -> None:
            super().__init__(autocast=False, **options)
            self.model = model
            self.function = function

        def build(self, input_shape: object) -> None:
            """The model has its weights already."""
            self.built = True

        def call(self, inputs: Any) -> Any:
            """`inputs` by argument."""
            return self.function(self.model, **inputs)

        def get_config(self) -> dict[str, Any]:
            """Refused."""
            raise ModelError(
                f"{self.name!r} computes a Python function of the model {self.model.name!r} and cannot be "
                "saved. Save that model, load it, and make this one of it anew."
            )

    return FunctionOfModel
