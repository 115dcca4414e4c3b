"""What of a finished graph draws random numbers, which Keras users seldom mean at inference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from keras_trt.onnx_passes.naming import layer_of

DRAWS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""ONNX's operators that give other numbers in each call."""


def random_numbers(model: ir.Model, layers: Iterable[str]) -> list[str]:
    """A sentence for each layer whose random numbers the graph draws, in the order of the graph.

    Args:
        model: The graph after all passes.
        layers: The paths of all Keras layers.
    """
    layers = tuple(layers)
    drawn: dict[str, list[str]] = {}
    for node in model.graph:
        path = layer_of(node.name or "", layers) or node.name or node.op_type
        for operator in _operators(node):  # nodes of subgraphs are not named by layers
            if operator in DRAWS:
                drawn.setdefault(path, []).append(operator)
    return [
        f"Layer {layer!r} draws random numbers at inference, too ({', '.join(dict.fromkeys(operators))}): "
        "the engine draws others in each call, so its answers differ from call to call, and from Keras's, by "
        "that. If it is meant for training only, let it act under `training`."
        for layer, operators in drawn.items()
    ]


def _operators(node: ir.Node) -> Iterator[str]:
    """The operator of a node, and those of the subgraphs in it."""
    yield node.op_type
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                yield from _operators(inner)
