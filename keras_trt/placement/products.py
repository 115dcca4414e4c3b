"""The sizes of the products that a layer computes: what the rules by shape ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from keras_trt._base.private import private
from keras_trt._keras.graph import LayerGraph, Node, Shape
from keras_trt._keras.kernels import CONVOLUTIONS, Kernel, kernels_of
from keras_trt._keras.types import Layer
from keras_trt.placement.layer_kinds import ATTENTION


@dataclass(frozen=True)
class Matrix:
    """(rows, summed) times (summed, columns).

    Attributes:
        rows: M, all rows of a batch together; None where the batch or another axis is open.
        summed: K; None where it is open.
        columns: N; None where it is open.
    """

    rows: int | None
    summed: int | None
    columns: int | None


@dataclass(frozen=True)
class Convolution:
    """A convolution as ONNX writes it.

    Attributes:
        inputs: Input channels that each output sees: those of one group.
        outputs: Output channels of all groups together.
        window: The sizes of the kernel, one per spatial axis, without dilation.
        groups: How many groups; as many as input channels for a depthwise one.
        first: Whether it is the first product behind an input of the model.
    """

    inputs: int
    outputs: int
    window: tuple[int, ...]
    groups: int = 1
    first: bool = False


@dataclass(frozen=True)
class Attention:
    """The pair of products around a softmax.

    Attributes:
        tokens: How many keys each query sees; None where that is open.
        head: The width of a head.
    """

    tokens: int | None
    head: int


Product: TypeAlias = Matrix | Convolution | Attention


def products_of(layer: Layer, kind: str, path: str, graph: LayerGraph | None) -> tuple[Product, ...]:
    """The products that a layer computes, those inside it too; none for layers of which they are not known.

    Args:
        layer: A built layer.
        kind: The name of its nearest Keras class.
        path: Its path.
        graph: The layer graph, from which open sizes and neighbours come; None for models without one.
    """
    calls = [node for node in graph.nodes if node.path == path] if graph is not None else []
    if kind in ATTENTION:
        return _attention(layer, kind, calls)
    kernels = [(kernel, tuple(getattr(layer, kernel.name).shape)) for kernel in kernels_of(layer)]
    if kind in CONVOLUTIONS:
        made = tuple(_convolution(layer, kernel, shape) for kernel, shape in kernels)
        first = graph is not None and any(_is_first(graph, node) for node in calls)
        return (replace(made[0], first=first), *made[1:]) if made else ()
    # Of a class of the user's, a kernel with two axes is a matrix as far as one can tell.
    return tuple(_matrix(kernel, shape, calls) for kernel, shape in kernels if _is_matrix(kind, shape))


def _is_matrix(kind: str, shape: Shape) -> bool:
    return kind == "EinsumDense" or (len(shape) == 2 and kind != "Embedding" and not kind.endswith("Cell"))


def _matrix(kernel: Kernel, shape: tuple[int, ...], calls: Sequence[Node]) -> Matrix:
    columns = math.prod(shape[axis] for axis in kernel.channel_axes)
    summed = math.prod(shape) // max(columns, 1)
    sizes = [_size(node.input_shapes[0]) if node.input_shapes else None for node in calls]
    known = [size // max(summed, 1) for size in sizes if size is not None]
    return Matrix(max(known) if known and len(known) == len(sizes) else None, summed, columns)


def _convolution(layer: Layer, kernel: Kernel, shape: tuple[int, ...]) -> Convolution:
    *window, a, b = shape
    if not kernel.input_axes:  # depthwise: (..., in, multiplier)
        return Convolution(1, a * b, tuple(window), groups=a)
    inputs, outputs = (a, b) if kernel.input_axes == (-2,) else (b, a)
    return Convolution(inputs, outputs, tuple(window), groups=int(getattr(layer, "groups", 1) or 1))


def _attention(layer: Any, kind: str, calls: Sequence[Node]) -> tuple[Product, ...]:
    package = type(layer).__module__.split(".")[0]
    if kind == "MultiHeadAttention":
        head, width = int(private(layer, "_key_dim", package)), int(private(layer, "_value_dim", package))
        axes = private(layer, "_attention_axes", package)
    else:  # over the one axis between batch and channels
        head, width, axes = int(layer.head_dim), int(layer.head_dim), None
    queries = [_positions(node.input_shapes[:1], axes) for node in calls]
    keys = [_positions(node.input_shapes[1:2] or node.input_shapes[:1], axes) for node in calls]
    rows, tokens = _largest(queries), _largest(keys)
    return (Attention(tokens, head), Matrix(rows, head, tokens), Matrix(rows, tokens, width))


def _positions(shapes: Sequence[Shape], axes: Sequence[int] | None) -> int | None:
    """How many positions a tensor (batch, positions ..., width) has along the axes that are attended over."""
    if not shapes or len(shapes[0]) < 3:
        return None
    shape = shapes[0]
    return _size([shape[axis] for axis in axes] if axes is not None else shape[1:-1])


def _largest(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return max(known) if known and len(known) == len(sizes) else None


def _size(shape: Sequence[int | None]) -> int | None:
    """How many numbers a tensor has; None where an axis is open."""
    size = 1
    for axis in shape:
        if axis is None:
            return None
        size *= axis
    return size


def _is_first(graph: LayerGraph, node: Node) -> bool:
    """Whether only layers without weights, of one input each, stand between a call and the model's input."""
    while True:
        if len(node.inputs) != 1:
            return False
        before = graph.producer(node.inputs[0])
        if before is None:
            return True
        if before.kernels:
            return False
        node = before
