"""A small model around one layer, and data for it; the layers that the two Kerases offer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

KERASES = ("keras", "tf_keras")


@dataclass(frozen=True)
class Tensor:
    """One input of a model: its shape without the batch axis, and what its values are like.

    Attributes:
        shape: Without the batch axis.
        dtype: Its type.
        high: Values are in [0, high); None makes floats normal and whole numbers 0 or 1.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    high: float | None = None

    def values(self, count: int, seed: int) -> np.ndarray:
        """An array of `count` samples; open axes are 6 long."""
        rng, shape = np.random.default_rng(seed), (count, *(size or 6 for size in self.shape))
        if self.dtype == "string":
            return rng.choice(np.array(["red", "green", "blue"]), shape).astype(object)
        if self.dtype == "bool":
            return rng.random(shape) < 0.5
        if not self.dtype.startswith("float"):
            return rng.integers(0, int(self.high or 2), shape).astype(self.dtype)
        return (rng.normal(size=shape) if self.high is None else rng.uniform(0, self.high, shape)).astype(
            self.dtype
        )


@dataclass(frozen=True)
class Case:
    """One row of the table: a layer as it is used.

    Attributes:
        make: From a Keras's `layers` module to the layer.
        inputs: What the model takes.
        call: From the layers module, the layer and the symbolic inputs to the outputs.
        impossible: Why no TensorRT can compute it, for both Kerases or by Keras; "" where one should.
        kerases: Where the layer can be used like this.
        input_shapes: Passed to `export`.
        batch: The batch size, where the layer needs a fixed one.
    """

    make: Callable[[Any], Any]
    inputs: tuple[Tensor, ...]
    call: Callable[[Any, Any, list[Any]], Any]
    impossible: str | dict[str, str] = ""
    kerases: tuple[str, ...] = KERASES
    input_shapes: Any = None
    batch: int | None = None

    def why_impossible(self, keras_name: str) -> str:
        """The reason for one Keras; "" if there is none."""
        return self.impossible if isinstance(self.impossible, str) else self.impossible.get(keras_name, "")


def case(
    make: Callable[[Any], Any],
    *inputs: Tensor,
    call: Callable[[Any, Any, list[Any]], Any] | None = None,
    **options: Any,
) -> Case:
    """A case; the layer is called on its input, or on the list of them, unless `call` says otherwise."""
    return Case(make, inputs, call or _plain_call, **options)


def of(name: str, *args: Any, **options: Any) -> Callable[[Any], Any]:
    """What makes a layer, by its name."""
    return lambda layers: getattr(layers, name)(*args, **options)


def _plain_call(layers: Any, layer: Any, x: list[Any]) -> Any:
    return layer(x[0] if len(x) == 1 else x)


def layer_of(name: str) -> str:
    """The layer of a row: what stands before the colon."""
    return name.partition(":")[0]


def build(keras_name: str, case: Case) -> Any:
    """The model; the weights that Keras starts at 0 or 1 get values that can be seen."""
    keras = importlib.import_module(keras_name)
    keras.utils.set_random_seed(0)
    inputs = [
        keras.Input(t.shape, batch_size=case.batch, dtype=t.dtype, name=f"x{n}")
        for n, t in enumerate(case.inputs)
    ]
    outputs = case.call(keras.layers, case.make(keras.layers), inputs)
    model = keras.Model(inputs[0] if len(inputs) == 1 else inputs, outputs)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype == np.float32 and values.ndim and np.ptp(values) == 0:
            weight.assign(rng.uniform(0.5, 1.5, values.shape).astype(np.float32))
    return model


def data(case: Case, count: int, seed: int) -> Any:
    """What the model takes: an array, or a list of them."""
    arrays = [tensor.values(count, seed + n) for n, tensor in enumerate(case.inputs)]
    return arrays[0] if len(arrays) == 1 else arrays


def public_layers(keras_name: str) -> dict[str, list[str]]:
    """The other names of every public layer class of a Keras, by its name."""
    keras = importlib.import_module(keras_name)
    names: dict[type, list[str]] = {}
    for name in dir(keras.layers):
        found = getattr(keras.layers, name)
        if isinstance(found, type) and issubclass(found, keras.layers.Layer):
            names.setdefault(found, []).append(name)
    result = {}
    for cls, aliases in names.items():
        name = cls.__name__ if cls.__name__ in aliases else aliases[0]
        result[name] = [alias for alias in aliases if alias != name]
    return result
