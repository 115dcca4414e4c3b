"""BatchNormalization behind a ZeroPadding goes into the convolution before that, where its shift is 0."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from keras_trt._keras.graph import BATCHNORMS
from keras_trt.fuse.fold import affine_of, fold_batchnorm
from keras_trt.fuse.network import PADDINGS, Network, Rewrite
from keras_trt.fuse.pairs import FOLDABLE


def through_padding(network: Network) -> Iterator[Rewrite]:
    """`pad(x) s = pad(x s)`; with a shift, the zeros would get it in one and not in the other."""
    for path in network.calls:
        node = network.only_call(path)
        if node is None or node.kind not in FOLDABLE or not node.linear:
            continue
        reader = network.only_reader(node, across=True)
        if reader is None or reader.kind not in PADDINGS:
            continue
        while reader is not None and reader.kind in PADDINGS:
            reader = network.only_reader(reader, across=True)
        if reader is None or reader.kind not in BATCHNORMS:
            continue
        layer, batchnorm = network.layers[path], network.layers[reader.path]
        plain = network.is_plain(path) and network.is_plain(reader.path)
        if plain and network.normalizes_channels(layer, batchnorm) and not affine_of(batchnorm)[1].any():
            weights = partial(fold_batchnorm, network.flavor, layer, batchnorm=batchnorm)
            drop = {reader.path: 0}
            yield Rewrite(
                "batch normalisation behind padding", reader.path, path, drop, {"use_bias": True}, weights
            )
