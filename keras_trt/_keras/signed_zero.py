"""Takes out how Keras 3 tells -0.0 from 0.0 in `argmax` and `argmin`: it needs bits that ONNX cannot read."""

from __future__ import annotations

from typing import Any


def drop_signed_zero(graph_def: Any) -> None:
    """Replaces `where(x == 0 and signbit(x), -tiny, x)` by `x`, in place.

    The result differs only where -0.0 and 0.0 tie for the largest or smallest value: then the first of
    them is taken, as NumPy does.
    """
    nodes = {node.name: node for node in graph_def.node}

    def maker(tensor: str) -> Any:
        return nodes[tensor.lstrip("^").split(":")[0]]

    for node in graph_def.node:
        if node.op not in ("SelectV2", "Select") or len(node.input) < 3:
            continue
        condition, x = maker(node.input[0]), node.input[2]
        if condition.op != "LogicalAnd" or not any(_reads_bits_of(maker, i, x) for i in condition.input):
            continue
        dtype = node.attr["T"].type
        del node.input[:]
        node.input.append(x)
        node.op = "Identity"
        node.attr.clear()
        node.attr["T"].type = dtype


def _reads_bits_of(maker: Any, tensor: str, x: str) -> bool:
    """Whether `tensor` comes from a `Bitcast` of `x` through the few ops of Keras's `signbit`."""
    node = maker(tensor)
    for _ in range(6):
        if node.op == "Bitcast":
            return node.input[0] == x
        if not node.input:
            return False
        node = maker(node.input[0])
    return False
