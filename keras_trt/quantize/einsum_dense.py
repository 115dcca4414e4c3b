"""EinsumDense as one matrix product, which is what TensorRT and the export's weight rules know."""

from __future__ import annotations

import math
from typing import Any

from keras_trt._keras.flavor import Flavor


def as_product(flavor: Flavor, layer: Any, inputs: Any) -> Any:
    """What an `EinsumDense` computes, for an equation such as `"abcd,cde->abe"`; None when it is no product.

    The letters summed over must end the input and begin the kernel, and the kernel's others end the output.
    """
    tf, kernel = flavor.tf, layer.kernel
    left, output = layer.equation.replace(" ", "").replace("...", "").split("->")
    batch_letters, weight = left.split(",")
    summed = [letter for letter in weight if letter not in output]
    count = len(summed)
    leading = batch_letters[: len(batch_letters) - count]
    fits = (
        list(weight[:count]) == summed == list(batch_letters[len(leading) :])
        and output == leading + weight[count:]
        and list(inputs.shape).count(None) <= 1
    )
    if not fits:
        return None
    rows = [-1 if size is None else size for size in inputs.shape[: len(inputs.shape) - count]]
    depth, columns = math.prod(kernel.shape[:count]), list(kernel.shape[count:])
    matrix = tf.reshape(kernel, (depth, math.prod(columns)))
    result = tf.matmul(tf.reshape(inputs, (*rows, depth)), matrix)
    result = tf.reshape(result, (*rows, *columns))
    if layer.bias is not None:
        result += tf.cast(tf.convert_to_tensor(flavor.raw(layer.bias)), result.dtype)
    return result if layer.activation is None else layer.activation(result)
