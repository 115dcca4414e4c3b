"""Which outputs of a traced model have one row for each row of the batch.

An output's first axis may be open and yet be another one: that of `reshape(x, (-1, c))`, of the boxes that
are left over, of the elements that are not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from keras_trt._base.tensors import BATCH_AXIS, TensorSpec

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef

Shapes = Sequence[Sequence[int | None] | None]

_ROWS = 97  # a size that no other axis is likely to have


def rows_are_the_batch(
    open_outputs: Sequence[bool],
    inputs: Sequence[TensorSpec],
    infer: Sequence[Callable[[Sequence[TensorSpec]], Shapes]],
) -> list[bool]:
    """Whether the first axis of each output is the batch.

    Args:
        open_outputs: Whether each output's first axis is of open size.
        inputs: The model's inputs.
        infer: Functions that give the outputs' shapes for inputs of other sizes; the cheapest comes first,
            and the next is asked when it cannot tell.
    """
    by_rows: list[bool] = [False] * len(open_outputs)
    if not any(info.shape[:1] == (BATCH_AXIS,) for info in inputs):
        return by_rows
    known = [not is_open for is_open in open_outputs]
    sized = [_with_rows(info, _ROWS) for info in inputs]
    for shapes_of in infer:
        if all(known):
            break
        for i, shape in enumerate(shapes_of(sized)):
            if not known[i] and shape and shape[0] is not None:
                known[i], by_rows[i] = True, shape[0] == _ROWS
    return by_rows


def inferred_shapes(
    tf: ModuleType, graph_def: GraphDef, input_tensors: Sequence[str], output_tensors: Sequence[str]
) -> Callable[[Sequence[TensorSpec]], Shapes]:
    """What TensorFlow's shape inference says of a frozen graph; it does not look into loops."""

    def shapes_of(inputs: Sequence[TensorSpec]) -> Shapes:
        with tf.Graph().as_default():
            given = {
                name: tf.compat.v1.placeholder(info.dtype, _open(info.shape), f"sized/{name.split(':')[0]}")
                for name, info in zip(input_tensors, inputs, strict=True)
            }
            try:
                tensors = tf.import_graph_def(graph_def, given, list(output_tensors), name="")
            except ValueError:  # some operator takes no batch of this size
                return [None] * len(output_tensors)
            return [None if t.shape.rank is None else t.shape.as_list() for t in tensors]

    return shapes_of


def _with_rows(info: TensorSpec, rows: int) -> TensorSpec:
    shape = (rows, *info.shape[1:]) if info.shape[:1] == (BATCH_AXIS,) else info.shape
    return TensorSpec(info.name, shape, info.dtype)


def _open(shape: Sequence[int | str]) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in shape]
