"""Weights outside of a TensorFlow graph: placeholders there, arrays here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


def view(variable: Any) -> np.ndarray:
    """What a `tf.Variable` holds now, not copied where it lies in main memory.

    TensorFlow writes new values elsewhere while an array shares the old ones.
    """
    return np.asarray(variable.value())


@dataclass(frozen=True)
class _Hollow:
    """An array that is written into a graph as a shape and one number."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros(1, dtype or self.dtype)


def hollow(value: np.ndarray) -> Any:
    """A stand-in of the same shape and dtype, which takes no memory in a `TensorProto` either."""
    return _Hollow(value.shape, value.dtype) if value.size and value.dtype != object else value


def make_weight(node: Any, value: np.ndarray) -> None:
    """Turns a `NodeDef` into the placeholder of a weight, in place."""
    import tensorflow as tf

    _clear(node, "Placeholder")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())


def make_constant(node: Any, value: np.ndarray) -> None:
    """Turns a `NodeDef` into a constant, in place."""
    import tensorflow as tf

    _clear(node, "Const")
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def embed(graph_def: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Turns the placeholders of weights into constants, in place."""
    for node in graph_def.node:
        if node.name in weights:
            make_constant(node, weights[node.name])


def _clear(node: Any, op: str) -> None:
    node.op = op
    del node.input[:]
    node.attr.clear()
