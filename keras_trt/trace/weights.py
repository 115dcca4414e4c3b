"""Weights outside of a TensorFlow graph: placeholders there, arrays here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_trt._keras.types import Model

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.compat.v1 import GraphDef, NodeDef

    from keras_trt._keras.flavor import Flavor


def view(variable: tf.Variable) -> np.ndarray:
    """What a `tf.Variable` holds now, not copied where it lies in main memory.

    TensorFlow writes new values elsewhere while an array shares the old ones.
    """
    return np.asarray(variable.value())


@dataclass(frozen=True)
class _Hollow:
    """An array that is written into a graph as a shape and one number."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros(1, dtype or self.dtype)


def hollow(value: np.ndarray) -> _Hollow | np.ndarray:
    """A stand-in of the same shape and dtype, which takes no memory in a `TensorProto` either."""
    return _Hollow(value.shape, value.dtype) if value.size and value.dtype != object else value


def make_weight(node: NodeDef, value: np.ndarray) -> None:
    """Turns a `NodeDef` into the placeholder of a weight, in place."""
    import tensorflow as tf

    _clear(node, "Placeholder")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())


def make_constant(node: NodeDef, value: np.ndarray) -> None:
    """Turns a `NodeDef` into a constant, in place."""
    import tensorflow as tf

    _clear(node, "Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def embed(graph_def: GraphDef, weights: Mapping[str, np.ndarray]) -> None:
    """Turns the placeholders of weights into constants, in place."""
    for node in graph_def.node:
        if node.name in weights:
            make_constant(node, weights[node.name])


def _clear(node: NodeDef, op: str) -> None:
    node.op = op
    del node.input[:]
    node.attr.clear()


def holders(
    flavor: Flavor, model: Model, variables: Mapping[str, int], origins: Mapping[str, Iterable[str]]
) -> dict[str, tuple[str, ...]]:
    """The paths of the layers that hold the variables behind each weight, by the weight's name.

    Args:
        flavor: The model's Keras.
        model: What was traced.
        variables: The identity of each variable's handle, by the name of its placeholder.
        origins: The placeholders that each weight was computed from.
    """
    paths: dict[int, list[str]] = {}
    for path, layer in flavor.walk(model):
        inside = {id(weight) for child in flavor.children(layer) for weight in child.weights}
        for weight in layer.weights:
            if id(weight) not in inside:
                paths.setdefault(id(flavor.first_replica(weight).handle), []).append(path)
    by_name: dict[str, tuple[str, ...]] = {}
    for name, placeholders in origins.items():
        handles = [variables.get(placeholder, 0) for placeholder in sorted(placeholders)]
        by_name[name] = tuple(dict.fromkeys(path for handle in handles for path in paths.get(handle, ())))
    return by_name
