"""Layers that do nothing at inference go: dropout, noise, identities."""

from __future__ import annotations

from collections.abc import Iterator

from keras_trt._keras.graph import IDLE, is_linear
from keras_trt.fuse.network import Network, Rewrite


def idle_layers(network: Network) -> Iterator[Rewrite]:
    """What reads such a layer reads its input instead, mask included. One that makes an output names it."""
    for path, calls in network.calls.items():
        if any(output in network.graph.outputs for call in calls for output in call.outputs):
            continue
        if not network.is_plain(path):
            continue
        kind = calls[0].kind
        if kind in IDLE or (kind == "Activation" and is_linear(network.flavor, network.layers[path])):
            yield Rewrite("does nothing at inference", path, drop={path: 0})
