"""Casts: of complex numbers to real ones, and of floats to integers of 8 and 16 bits.

TensorFlow leaves open what a float becomes that does not fit: its scalar code wraps, its vector code and XLA
take the nearest number that fits, and so runners differ. Here it is the nearest.
"""

from __future__ import annotations

import numpy as np

from keras_trt._base.formats import ELEMENT_TYPES
from keras_trt.convert.handlers._nodes import FLOAT, Nodes, replace
from keras_trt.convert.handlers.numbers.complex_numbers import is_complex, real_numbers
from keras_trt.convert.types import Graph, Node

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SMALL = ("uint8", "int8", "uint16", "int16")


def cast(ctx: Graph, node: Node, name: str, unused: list[object]) -> Node | None:
    """Keeps the real part of complex numbers, and floats within what small integers hold."""
    dtypes = ctx.get_dtype(node.input[0]), ctx.get_dtype(node.output[0])
    source, target = (ELEMENT_TYPES.get(dtype, "") for dtype in dtypes)
    if is_complex(ctx, node.input[0]) and not is_complex(ctx, node.output[0]):
        return real_numbers(ctx, node, name, unused)
    if source not in _FLOATS or target not in _SMALL:
        return None
    x, ends = node.input[0], np.iinfo(target)

    def build(add: Nodes) -> str:
        low, high = (add.const(np.array(end, np.float32)) for end in (ends.min, ends.max))
        return add.cast(add("Clip", add.cast(x, FLOAT), low, high), dtypes[1])

    return replace(ctx, node, name, build)
