"""Dense layers, or convolutions of window 1, that read one tensor become one wide layer, its output cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_trt._keras.flavor import Flavor
from keras_trt._keras.rebuilding.rewire import copy_layer
from keras_trt.fuse.network import Network, Rewrite, bias_of, channels_first, floats

_WIDTH = {"Dense": "units", "Conv1D": "filters", "Conv2D": "filters", "Conv3D": "filters"}
_ALIKE = ("activation", "strides", "padding", "dilation_rate", "data_format", "dtype", "trainable")


def parallel_layers(network: Network) -> Iterator[Rewrite]:
    """`[x A, x B] = x [A B]`: one product instead of several, for GPUs that are not filled by one of them."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for path in network.calls:
        node = network.only_call(path)
        if node is None or node.kind not in _WIDTH or path in network.ends or not network.is_plain(path):
            continue
        layer = network.layers[path]
        if getattr(layer, "groups", 1) == 1 and all(size == 1 for size in getattr(layer, "kernel_size", ())):
            config = layer.get_config()
            alike = tuple(repr(config.get(name)) for name in _ALIKE)
            groups.setdefault((node.inputs[0], node.kind, network.home(path), *alike), []).append(path)
    for (_, kind, *_), paths in groups.items():
        if len(paths) > 1:
            layers = {path: network.layers[path] for path in paths}
            stand_ins = _StandIns(network.flavor, layers, _WIDTH[kind])
            yield Rewrite("layers that read one tensor", paths[-1], paths[0], stand_ins=stand_ins)


class _StandIns:
    """Makes the slices of a wide layer anew for each rewiring."""

    def __init__(self, flavor: Flavor, layers: Mapping[str, Any], width: str) -> None:
        self.flavor, self.layers, self.width = flavor, layers, width

    def __call__(self) -> dict[str, Callable[..., Any]]:
        """By the paths of the layers that they stand for."""
        wide, start = _Wide(self.flavor, list(self.layers.values()), self.width), 0
        slices: dict[str, Callable[..., Any]] = {}
        for path, layer in self.layers.items():
            size = int(getattr(layer, self.width))
            slices[path] = _Slice(wide, slice(start, start + size), channels_first(layer))
            start += size
        return slices


class _Wide:
    """The wide layer, called once for each tensor."""

    def __init__(self, flavor: Flavor, layers: list[Any], width: str) -> None:
        self.flavor, self.layers, self.width = flavor, layers, width
        self.called: dict[int, tuple[Any, Any]] = {}

    def __call__(self, x: Any) -> Any:
        if id(x) not in self.called:
            self.called[id(x)] = (x, self._make(x))
        return self.called[id(x)][1]

    def _make(self, x: Any) -> Any:
        first = self.layers[0]
        sizes = [int(getattr(layer, self.width)) for layer in self.layers]
        use_bias = any(layer.use_bias for layer in self.layers)
        name = "-and-".join(layer.name for layer in self.layers)
        wide = copy_layer(first, **{self.width: sum(sizes), "use_bias": use_bias})
        self.flavor.rename(wide, name)
        y = wide(x)
        kernels = [floats(layer.kernel) for layer in self.layers]
        wide.kernel.assign(np.concatenate(kernels, axis=-1).astype(np.float32))
        if use_bias:
            biases = [bias_of(layer, size) for layer, size in zip(self.layers, sizes, strict=True)]
            wide.bias.assign(np.concatenate(biases).astype(np.float32))
        return y


class _Slice:
    """What one of the layers makes: a slice of the wide layer's output."""

    def __init__(self, wide: _Wide, channels: slice, first: bool) -> None:
        self.wide, self.channels, self.first = wide, channels, first

    def __call__(self, x: Any) -> Any:
        y = self.wide(x)
        before = 1 if self.first else len(y.shape) - 1
        return y[(slice(None),) * before + (self.channels,)]  # tf_keras stores no Ellipsis
