"""Lets `keras.ops.scan` and `keras.ops.switch` leave as the loops and branches that ONNX has.

Keras 3 carries a scan's state in lists of one tensor, walks backwards through lists for `reverse`, and has
one operator for many branches. ONNX's loops carry tensors and run forwards, and its branches are two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from keras_trt._base.nests import Nest
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor
from keras_trt._machine.process import attributes_replaced


@contextmanager
def loops_and_branches(flavor: Flavor) -> Iterator[None]:
    """While open, `scan` and `switch` of this Keras's `ops` compute the same in ONNX's terms."""
    home = flavor.control_flow()
    with attributes_replaced() as replace:
        if home is not None:
            replace(home, "scan", _scan(flavor))
            replace(home, "switch", _switch(flavor))
        yield


def _scan(flavor: Flavor) -> Callable[..., tuple[Any, Any]]:
    """What stands in for Keras's own, with the same arguments."""
    tf, tree = flavor.tf, flavor.keras.tree

    def scan(
        f: Callable[[Any, Any], tuple[Any, Any]],
        init: Nest,
        xs: Nest = None,
        length: int | None = None,
        reverse: bool = False,
        unroll: object = 1,
    ) -> tuple[Any, Any]:
        def turned(x: Tensor) -> Any:
            return tf.reverse(x, [0]) if reverse else x

        rows = [] if xs is None else [tf.convert_to_tensor(x) for x in tree.flatten(xs)]
        start = [tf.convert_to_tensor(x) for x in tree.flatten(init)]
        count = tf.shape(rows[0])[0] if length is None else int(length)
        given = [_list(tf, x, count, x.shape[1:]).unstack(turned(x)) for x in rows]
        made = [_list(tf, x, count, x.shape) for x in start]

        def step(i: Tensor, carry: list[Any], made: list[Any]) -> tuple[Any, ...]:
            row = tree.pack_sequence_as(xs, [each.read(i) for each in given]) if given else None
            carried, y = f(tree.pack_sequence_as(init, carry), row)
            ys = list(map(tf.zeros_like, start)) if y is None else tree.flatten(y)
            new = carry if carried is None else [tf.convert_to_tensor(x) for x in tree.flatten(carried)]
            for x, first in zip(new, start, strict=True):
                x.set_shape(first.shape)
            return i + 1, new, [each.write(i, y) for each, y in zip(made, ys, strict=True)]

        _, carry, made = tf.while_loop(lambda i, *_: i < count, step, (0, start, made))
        ys = [turned(each.stack()) for each in made]
        for y in ys if rows else ():
            y.set_shape(rows[0].shape[:1].concatenate(y.shape[1:]))
        return tree.pack_sequence_as(init, carry), tree.pack_sequence_as(init, ys)

    return scan


def _list(tf: Any, like: Any, count: object, shape: object) -> Any:
    return tf.TensorArray(like.dtype, size=count, element_shape=shape)


def _switch(flavor: Flavor) -> Callable[..., Any]:
    """What stands in for Keras's own, with the same arguments: a choice between two, then another, and so on.

    TensorRT-RTX cannot build a branch inside a branch.
    """
    tf = flavor.tf

    def switch(index: object, branches: Sequence[Callable[..., object]], *operands: object) -> Any:
        last = len(branches) - 1
        chosen = tf.clip_by_value(tf.cast(tf.convert_to_tensor(index), tf.int32), 0, last)
        result = branches[0](*operands) if last == 0 else None
        for i in range(1, last + 1):
            before = branches[0] if result is None else _held(result)
            result = tf.cond(tf.equal(chosen, i), partial(branches[i], *operands), partial(before, *operands))
        return result

    return switch


def _held(result: Nest) -> Callable[..., Nest]:
    """A branch that gives what others have made."""
    return lambda *_: result
