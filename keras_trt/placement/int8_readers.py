"""Who reads a tensor in int8, near or behind layers that only move values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from keras_trt._keras.graph import LayerGraph, Node
from keras_trt.placement.layer_kinds import PASSING, PASSING_OPERATIONS

if TYPE_CHECKING:
    from keras_trt.placement.decision import Decision


def is_read(
    graph: LayerGraph, decisions: Mapping[str, Decision], quantized: Mapping[str, tuple[int, ...]], node: Node
) -> bool:
    """Whether something that computes in int8 reads what a call makes, looking through what moves values.

    Args:
        graph: The layer graph.
        decisions: By path; layers inside others, which the graph does not show, may be among them.
        quantized: The quantised inputs of each layer, by path.
        node: The call.
    """
    waiting, seen = list(node.outputs), set(node.outputs)
    while waiting:
        tensor = waiting.pop()
        for reader in graph.consumers(tensor):
            positions = [i for i, read in enumerate(reader.inputs) if read == tensor]
            if any(i in quantized.get(reader.path, ()) for i in positions):
                return True
            if _quantizes_inside(decisions, reader):
                return True
            if _passes(reader.kind):
                waiting += [made for made in reader.outputs if made not in seen]
                seen.update(reader.outputs)
    return False


def _quantizes_inside(decisions: Mapping[str, Decision], node: Node) -> bool:
    """Whether a layer has quantised layers inside; which of them read its input cannot be seen."""
    own = decisions.get(node.path)
    inside = [d for path, d in decisions.items() if path.startswith(f"{node.path}/")]
    if not inside:  # not looked into
        return node.kind == "TimeDistributed" or bool(own is not None and own.inner and not own.kernels)
    return any(d.quantized and d.scheme is not None and d.scheme.activations is not None for d in inside)


def _passes(kind: str) -> bool:
    """Whether int8 goes through: a layer or an operation that moves values, or an activation."""
    if kind.startswith("ops."):
        return kind.rsplit(".", 1)[-1].lower().replace("_", "") in PASSING_OPERATIONS
    return kind in PASSING
