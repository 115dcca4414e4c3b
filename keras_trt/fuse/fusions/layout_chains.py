"""Of two Reshapes in a row the first goes; two ZeroPaddings become one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keras_trt.fuse.network import PADDINGS, Network, Rewrite, channels_first

_RESHAPES = {"Flatten", "Reshape"}


def layout_chains(network: Network) -> Iterator[Rewrite]:
    """Reshapes keep the order of the numbers, so that only the last shape counts. Paddings add up."""
    for path in network.calls:
        node = network.only_call(path)
        reader = network.only_reader(node) if node is not None else None
        if node is None or reader is None or not (network.is_plain(path) and network.is_plain(reader.path)):
            continue
        first, second = network.layers[path], network.layers[reader.path]
        if {node.kind, reader.kind} <= _RESHAPES and not (channels_first(first) or channels_first(second)):
            yield Rewrite("reshapes in a row", path, reader.path, {path: 0})
        elif (
            node.kind == reader.kind
            and node.kind in PADDINGS
            and channels_first(first) == channels_first(second)
        ):
            padding = _sum(first.padding, second.padding)
            yield Rewrite("paddings in a row", path, reader.path, {path: 0}, {"padding": padding})


def _sum(a: Any, b: Any) -> Any:
    """The sums of two nests of numbers."""
    return a + b if isinstance(a, int) else tuple(_sum(x, y) for x, y in zip(a, b, strict=True))
