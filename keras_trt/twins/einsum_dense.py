"""EinsumDense as one matrix product, which is what TensorRT and the export's weight rules know."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Tensor


def is_product(equation: str) -> bool:
    """Whether one matrix product computes an equation, up to the order of axes.

    It does unless an axis of the kernel goes over input and output alike: then there is a matrix for each of
    its indices, as in `"abc,bcd->abd"`.
    """
    inputs, weight, output = _letters(equation)
    return not set(inputs) & set(weight) & set(output) and set(output) <= set(inputs + weight)


def keeps_order(equation: str) -> bool:
    """Whether the kernel's axes that the output has are its last ones, in the same order."""
    _, weight, output = _letters(equation)
    made = [letter for letter in weight if letter in output]
    return output[len(output) - len(made) :] == "".join(made)


def as_product(flavor: Flavor, layer: Any, inputs: Any) -> Any:
    """What an `EinsumDense` computes, by reshaping, transposing and one product; None when that cannot be."""
    ops, kernel = flavor.ops, layer.kernel
    if not is_product(layer.equation) or inputs.shape.rank is None:
        return None
    before, weight, after = _letters(layer.equation, len(inputs.shape))
    summed = [letter for letter in weight if letter not in after]
    free = [letter for letter in before if letter not in summed]
    made = [letter for letter in weight if letter in after]
    sizes = dict(zip(weight, kernel.shape, strict=True))
    x = _in_order(ops, inputs, before, free + summed)
    rows, columns = _rows(ops, x, len(free)), [sizes[letter] for letter in made]
    depth, width = math.prod(sizes[letter] for letter in summed), math.prod(columns)
    matrix = ops.reshape(_in_order(ops, kernel, weight, summed + made), (depth, width))
    result = ops.matmul(x if len(summed) == 1 else ops.reshape(x, (*rows, depth)), matrix)
    result = result if len(made) == 1 else ops.reshape(result, (*rows, *columns))
    result = _in_order(ops, result, free + made, after)
    if layer.bias is not None:
        result += ops.cast(flavor.value(layer.bias), result.dtype)
    return result if layer.activation is None else layer.activation(result)


def _rows(ops: ModuleType, x: Tensor, count: int) -> list[Any]:
    """The sizes of the first axes, for `reshape`; several open ones are read off the tensor."""
    static = list(x.shape[:count])
    if static.count(None) < 2:
        return [-1 if size is None else size for size in static]
    sizes = ops.shape(x)
    return [sizes[i] if size is None else size for i, size in enumerate(static)]


def _letters(equation: str, rank: int | None = None) -> tuple[str, str, str]:
    """The axes of input, kernel and output; those of an ellipsis get letters when the rank is known."""
    left, output = equation.replace(" ", "").split("->")
    inputs, weight = left.split(",")
    unused = [letter for letter in string.ascii_letters if letter not in equation]
    ellipsis = "" if rank is None else "".join(unused[: rank - len(inputs.replace("...", ""))])
    return inputs.replace("...", ellipsis), weight, output.replace("...", ellipsis)


def _in_order(ops: ModuleType, x: Tensor, axes: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The tensor with its axes, named by letters, in another order."""
    order = [axes.index(letter) for letter in wanted]
    return x if order == sorted(order) else ops.transpose(x, order)
