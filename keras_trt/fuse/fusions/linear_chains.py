"""Two linear layers in a row are one, where that is not more work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_trt._keras.graph import BATCHNORMS, Node
from keras_trt.fuse.fold import affine_of
from keras_trt.fuse.network import PLAIN_CONVOLUTIONS, Network, Rewrite, bias_of, floats, is_unpadded

_NAME = "linear layers in a row"


def linear_chains(network: Network) -> Iterator[Rewrite]:
    """Dense behind Dense, a convolution beside one of window 1, normalisation behind normalisation.

    `(x A + a) B + b = x (A B) + (a B + b)`: exact but for rounding. With padding between, a must be 0, since
    the zeros around it do not get it.
    """
    for path in network.calls:
        node = network.only_call(path)
        reader = network.only_reader(node, across=node.kind in BATCHNORMS) if node is not None else None
        if node is None or reader is None or not node.linear or node.kind != reader.kind:
            continue
        if not (network.is_plain(path) and network.is_plain(reader.path)):
            continue
        rewrite = _pair(network, node, reader)
        if rewrite is not None:
            yield rewrite


def _pair(network: Network, node: Node, reader: Node) -> Rewrite | None:
    first, second = network.layers[node.path], network.layers[reader.path]
    if node.kind == "Dense":
        return _dense(node.path, reader.path, first, second)
    if node.kind in PLAIN_CONVOLUTIONS:
        return _convolutions(node.path, reader.path, first, second)
    return _normalizations(node.path, reader.path, first, second) if node.kind in BATCHNORMS else None


def _dense(path: str, into: str, first: Any, second: Any) -> Rewrite | None:
    (width, between), (_, units) = first.kernel.shape, second.kernel.shape
    if width * units > between * (width + units) or {id(first.kernel), id(first)} & {
        id(second.kernel),
        id(second),
    }:
        return None

    def weights(new: Any) -> None:
        b = floats(second.kernel)
        new.kernel.assign((floats(first.kernel) @ b).astype(np.float32))
        if new.use_bias:
            new.bias.assign((bias_of(first, between) @ b + bias_of(second, units)).astype(np.float32))

    return Rewrite(_NAME, path, into, {path: 0}, {"use_bias": first.use_bias or second.use_bias}, weights)


def _convolutions(path: str, into: str, first: Any, second: Any) -> Rewrite | None:
    if first.groups != 1 or second.groups != 1 or first.data_format != second.data_format:
        return None
    *window_a, width, between = first.kernel.shape
    *window_b, _, filters = second.kernel.shape
    a, b = math.prod(window_a), math.prod(window_b)
    if a * b * width * filters > a * width * between + b * between * filters:
        return None
    bias = bias_of(first, between)
    if a == 1 and set(first.strides) == {1} and (is_unpadded(second) or not bias.any()):
        changes: dict[str, Any] = {}
    elif b == 1 and set(second.strides) == {1}:
        names = ("kernel_size", "strides", "padding", "dilation_rate")
        changes = {name: getattr(first, name) for name in names}
    else:
        return None

    def weights(new: Any) -> None:
        ka, kb = floats(first.kernel), floats(second.kernel)
        kernel = (
            np.einsum("im,...mo->...io", ka.reshape(width, between), kb)
            if a == 1
            else ka @ kb.reshape(between, -1)
        )
        new.kernel.assign(kernel.astype(np.float32))
        if new.use_bias:
            through = kb.reshape(-1, between, filters).sum(0)
            new.bias.assign((bias @ through + bias_of(second, filters)).astype(np.float32))

    changes["use_bias"] = first.use_bias or second.use_bias
    return Rewrite(_NAME, path, into, {path: 0}, changes, weights)


def _normalizations(path: str, into: str, first: Any, second: Any) -> Rewrite | None:
    if first.axis != second.axis:
        return None

    def weights(new: Any) -> None:
        a, b = affine_of(first)
        c, d = affine_of(second)
        new.moving_mean.assign(np.zeros_like(a, np.float32))
        new.moving_variance.assign(np.full_like(a, 1 - new.epsilon, np.float32))
        new.gamma.assign((a * c).astype(np.float32))
        new.beta.assign((b * c + d).astype(np.float32))

    return Rewrite(_NAME, path, into, {path: 0}, {"scale": True, "center": True}, weights)
