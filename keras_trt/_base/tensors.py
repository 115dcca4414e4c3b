"""What a model takes and returns: named tensors, with the same words for Keras, ONNX and runners."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

BATCH_AXIS = "batch"


def fixed_batch(inputs: Iterable[Any]) -> int | None:
    """The batch size of a model whose inputs, each with a `.shape`, fix it; None where one leaves it open.

    A fixed first axis beside an open one is no batch: a place in a text, the same for all rows.
    """
    first = [spec.shape[0] for spec in inputs if spec.shape]
    return None if BATCH_AXIS in first else next((size for size in first if isinstance(size, int)), None)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: The name that Keras shows, which is the graph's.
        shape: One entry an axis: its size, or the name of a dynamic axis; the batch axis is `"batch"`.
        dtype: The numpy name of the element type, e.g. `"float32"`, or `"bfloat16"`.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str


def free_batch(spec: TensorSpec, inputs: Iterable[TensorSpec]) -> TensorSpec:
    """A static batch is no limit to the user: rows are split and padded, so the axis is named as if free.

    Args:
        spec: An input or output of the graph.
        inputs: All inputs of the graph.
    """
    fixed = fixed_batch(inputs)
    if fixed is not None and spec.shape[:1] == (fixed,):
        return replace(spec, shape=(BATCH_AXIS, *spec.shape[1:]))
    return spec


def shape_text(shape: tuple[int | str, ...]) -> str:
    """A shape as people write it.

    Example:
        >>> shape_text(("batch", 3))
        '(batch, 3)'
    """
    return f"({', '.join(map(str, shape))})"
