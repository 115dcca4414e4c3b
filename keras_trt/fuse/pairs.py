"""Which BatchNormalization can be folded into which layer: a pure function of the layer graph."""

from __future__ import annotations

from dataclasses import dataclass

from keras_trt._keras.graph import BATCHNORMS, LayerGraph, Node
from keras_trt._keras.kernels import CONVOLUTIONS

FOLDABLE = CONVOLUTIONS | {"Dense"}


@dataclass(frozen=True)
class Finding:
    """One BatchNormalization of a model.

    Attributes:
        batchnorm: Its path.
        into: Path of the layer it folds into, or None.
        reason: Why it stays, or None.
    """

    batchnorm: str
    into: str | None = None
    reason: str | None = None


def find_pairs(graph: LayerGraph) -> list[Finding]:
    """Every BatchNormalization of the graph: what it folds into, or why it stays.

    It folds into the layer before it when that layer is linear in its weights, has no activation of its
    own, and gives its output to nothing else, in every call of either.
    """
    calls: dict[str, list[Node]] = {}
    for node in graph.nodes:
        calls.setdefault(node.path, []).append(node)
    return [
        _examine(graph, path, nodes, calls) for path, nodes in calls.items() if nodes[0].kind in BATCHNORMS
    ]


def _examine(graph: LayerGraph, path: str, nodes: list[Node], calls: dict[str, list[Node]]) -> Finding:
    producers = [graph.producer(node.inputs[0]) for node in nodes]
    first = producers[0]
    if first is None or any(p is None or p.path != first.path for p in producers):
        before = "a model input" if first is None else "several layers"
        return Finding(path, reason=f"it follows {before}")
    if first.kind not in FOLDABLE:
        return Finding(path, reason=f"no weights to fold into in {first.path} ({first.kind}), before it")
    if not first.linear:
        return Finding(path, reason=f"{first.path} has an activation of its own before it")
    for call in calls[first.path]:
        readers = [node.path for node in graph.consumers(call.outputs[0])]
        if readers != [path] or call.outputs[0] in graph.outputs:
            return Finding(path, reason=f"the output of {first.path} is used elsewhere too")
    return Finding(path, into=first.path)
