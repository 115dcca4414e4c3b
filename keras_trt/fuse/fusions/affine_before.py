"""A scale and shift per channel goes into the convolution or Dense layer behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt._keras.graph import BATCHNORMS, Node
from keras_trt._keras.kernels import kernels_of
from keras_trt._keras.types import Layer
from keras_trt.fuse.fold import affine_of
from keras_trt.fuse.network import PADDINGS, Network, Rewrite, channels_first, floats, is_unpadded

_READERS = {
    "Conv1D", "Conv2D", "Conv3D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D",
    "SeparableConv2D",
}  # fmt: skip
Affine = tuple[np.ndarray, np.ndarray]


def affine_before(network: Network) -> Iterator[Rewrite]:
    """BatchNormalization, Rescaling and Normalization before a layer with weights.

    `(x s + t) W + b = x (s W) + (t W + b)`. Zeros around the input, of the layer itself or of a ZeroPadding
    in between, do not get the shift: there it is exact for a shift of 0 only.
    """
    for path in network.calls:
        node = network.only_call(path)
        if node is None or node.kind not in BATCHNORMS | {"Rescaling", "Normalization"}:
            continue
        reader, padded = _reader(network, node)
        if reader is None or not (network.is_plain(path) and network.is_plain(reader.path)):
            continue
        layer, into = network.layers[path], network.layers[reader.path]
        affine = _affine(node, layer, into) if network.reads_floats(path) else None
        if affine is None or (affine[1].any() and (padded or not is_unpadded(into))):
            continue
        changes = {"use_bias": True} if affine[1].any() else {}
        yield Rewrite(
            "scale and shift before it", path, reader.path, {path: 0}, changes, _weights(into, affine)
        )


def _reader(network: Network, node: Node) -> tuple[Node | None, bool]:
    """The layer with weights that alone reads a call, and whether a padding is in between."""
    reader, padded = network.only_reader(node, across=True), False
    while reader is not None and reader.kind in PADDINGS and network.is_plain(reader.path):
        reader, padded = network.only_reader(reader, across=True), True
    return (reader if reader is not None and reader.kind in _READERS else None), padded


def _affine(node: Node, layer: Any, into: Any) -> Affine | None:
    """Scale and shift per channel of `into`; None where they are of another axis."""
    rank = len(node.input_shapes[0])
    axis = 1 if channels_first(into) else rank - 1
    channels = node.input_shapes[0][axis]
    if channels is None:
        return None
    if node.kind in BATCHNORMS:
        given = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        return affine_of(layer) if given % rank == axis else None
    if node.kind == "Rescaling":
        scale, shift = np.asarray(layer.scale, np.float64), np.asarray(layer.offset, np.float64)
    elif getattr(layer, "invert", False):
        return None
    else:
        deviation = np.maximum(np.sqrt(np.asarray(layer.variance, np.float64)), 1e-7)  # Keras's epsilon
        scale, shift = 1 / deviation, -np.asarray(layer.mean, np.float64) / deviation
    per_channel = [_per_channel(array, rank, axis, channels) for array in (scale, shift)]
    return None if per_channel[0] is None or per_channel[1] is None else (per_channel[0], per_channel[1])


def _per_channel(array: np.ndarray, rank: int, axis: int, channels: int) -> np.ndarray | None:
    shape = [1] * (rank - array.ndim) + list(array.shape)
    others = [size for i, size in enumerate(shape) if i != axis]
    if len(shape) != rank or any(size != 1 for size in others):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))


def _weights(old: Any, affine: Affine) -> Any:
    scale, shift = affine

    def weights(new: Any) -> None:
        kernel, *more = (floats(getattr(old, kernel.name)) for kernel in kernels_of(old))
        names = [kernel.name for kernel in kernels_of(old)]
        scales, shifts = (_against(old, kernel, array) for array in (scale, shift))
        getattr(new, names[0]).assign((kernel * scales).astype(np.float32))
        added = (kernel * shifts).reshape(-1, *kernel.shape[-2:]).sum(0)  # over the window
        added = added.reshape(-1) if _is_depthwise(old) else added.sum(0)
        for name, pointwise in zip(names[1:], more, strict=True):  # of a separable convolution
            getattr(new, name).assign(pointwise.astype(np.float32))
            added = added @ pointwise.reshape(-1, pointwise.shape[-1])
        if new.use_bias:
            bias = floats(old.bias) if old.use_bias else 0.0
            new.bias.assign((added + bias).astype(np.float32))

    return weights


def _is_depthwise(layer: Layer) -> bool:
    return not kernels_of(layer)[0].input_axes


def _against(layer: Layer, kernel: np.ndarray, per_channel: np.ndarray) -> np.ndarray:
    """Numbers per input channel in a shape that broadcasts against a kernel (..., in / groups, out)."""
    if _is_depthwise(layer):
        return per_channel[:, np.newaxis]
    groups = int(getattr(layer, "groups", 1))
    rows = per_channel.reshape(groups, -1)  # a group sees its own channels
    return np.repeat(rows, kernel.shape[-1] // groups, axis=0).T
