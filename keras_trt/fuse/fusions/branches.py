"""Convolutions of one tensor that are added become one, as RepVGG is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt._keras.graph import BATCHNORMS, Node
from keras_trt.fuse.fold import affine_of
from keras_trt.fuse.network import PLAIN_CONVOLUTIONS, Network, Rewrite, bias_of, channels_first, floats


def branches(network: Network) -> Iterator[Rewrite]:
    """`conv(x, A) + conv(x, B) = conv(x, A + B)`, the smaller kernel in the middle of zeros.

    A branch may be the tensor itself, or a BatchNormalization of it: a convolution of window 1. (Ding et al.
    2021, arXiv:2101.03697.) Step 1 and padding "same" only, where windows of odd sizes share their middle.
    """
    for path in network.calls:
        node = network.only_call(path)
        if node is None or node.kind != "Add" or not network.is_plain(path):
            continue
        makers = [_branch(network, tensor, node) for tensor in node.inputs]
        if any(maker is None for maker in makers):
            continue
        rewrite = _merged(network, node, [maker for maker in makers if maker is not None])
        if rewrite is not None:
            yield rewrite


def _branch(network: Network, tensor: str, add: Node) -> Node | str | None:
    """The convolution or normalisation that makes a branch, else the tensor itself; None for another kind."""
    maker = network.graph.producer(tensor)
    if (
        maker is None
        or maker.kind not in PLAIN_CONVOLUTIONS | BATCHNORMS
        or network.only_reader(maker) is not add
    ):
        return tensor
    plain = network.only_call(maker.path) is not None and network.is_plain(maker.path) and maker.linear
    return maker if plain else None


def _merged(network: Network, add: Node, makers: list[Node | str]) -> Rewrite | None:
    sources = {maker if isinstance(maker, str) else maker.inputs[0] for maker in makers}
    nodes = [maker for maker in makers if isinstance(maker, Node)]
    convolutions = [node for node in nodes if node.kind in PLAIN_CONVOLUTIONS]
    if len(sources) != 1 or not convolutions or len({node.kind for node in convolutions}) != 1:
        return None
    layers = [network.layers[node.path] for node in convolutions]
    main = max(range(len(layers)), key=lambda i: layers[i].kernel_size)
    largest = layers[main]
    if not all(_fits(layer, largest) for layer in layers) or len(set(map(_width, layers))) != 1:
        return None
    pieces = []
    for maker in makers:
        piece = _piece(network, maker, largest)
        if piece is None:
            return None
        pieces.append(piece)

    def weights(new: Any) -> None:
        new.kernel.assign(np.sum([kernel for kernel, _ in pieces], axis=0).astype(np.float32))
        new.bias.assign(np.sum([bias for _, bias in pieces], axis=0).astype(np.float32))

    path = convolutions[main].path
    drop = {node.path: 0 for node in nodes if node.path != path}
    drop[add.path] = [maker.path if isinstance(maker, Node) else "" for maker in makers].index(path)
    return Rewrite("branches that are added", add.path, path, drop, {"use_bias": True}, weights)


def _fits(layer: Any, largest: Any) -> bool:
    """Whether a kernel fits into the middle of the largest one."""
    same = layer.padding == "same" and set(layer.strides) == {1} == set(layer.dilation_rate)
    odd = all(size % 2 for size in layer.kernel_size)
    inside = all(a <= b for a, b in zip(layer.kernel_size, largest.kernel_size, strict=True))
    return same and odd and inside and layer.groups == 1 and layer.data_format == largest.data_format


def _width(layer: Any) -> tuple[int, ...]:
    return tuple(layer.kernel.shape[-2:])


def _piece(network: Network, maker: Node | str, largest: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """A branch as a kernel of the largest window and a bias."""
    *window, width, filters = largest.kernel.shape
    if isinstance(maker, Node) and maker.kind in PLAIN_CONVOLUTIONS:
        layer = network.layers[maker.path]
        around = [((a - b) // 2,) * 2 for a, b in zip(window, layer.kernel_size, strict=True)]
        return np.pad(floats(layer.kernel), [*around, (0, 0), (0, 0)]), bias_of(layer, filters)
    if width != filters:
        return None
    scale, shift = np.ones(width), np.zeros(width)
    if isinstance(maker, Node):
        batchnorm = network.layers[maker.path]
        axis = batchnorm.axis if isinstance(batchnorm.axis, int) else batchnorm.axis[0]
        if axis % (len(window) + 2) != (1 if channels_first(largest) else len(window) + 1):
            return None
        scale, shift = affine_of(batchnorm)
    kernel = np.zeros((*window, width, filters))
    kernel[tuple(size // 2 for size in window)] = np.diag(scale)
    return kernel, shift
