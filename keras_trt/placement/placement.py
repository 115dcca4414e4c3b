"""Where quantisers go: TensorRT's rules as a pure function of the layer graph.

A quantiser sits on the *input* of the layer that wants int8, never on an output: model outputs and
float consumers of the same tensor stay float, and consumers that see the same tensor find the same
range. The rules are those of NVIDIA's guide for explicit quantisation ("Working with INT8", Q/DQ
placement) and of its Keras toolkit:

* inputs of weighted layers, and their kernels;
* of an addition that a convolution feeds, directly or through ReLU or swish: every branch but that one
  (TensorRT then fuses the addition, and the ReLU behind it, into the convolution's int8 kernel);
* the input of a layer normalisation behind a convolution, which writes int8 then;
* both inputs of a squeeze-excite product;
* the input of average pooling;
* nothing else: max pooling, padding, reshaping and concatenation carry int8 through by themselves, and a
  BatchNormalization that no convolution feeds is a scale in float.

Pooling and products stay float unless something that computes in int8 reads what they make, and additions
and normalisations unless the convolution before them does (`only_where_read`): a grid costs accuracy wherever
it stands. Additions and normalisations: Model Optimizer, `get_fusible_backbone` and
`find_conv_to_layernorm_nodes` of `modelopt/onnx/quantization`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from keras_trt._keras.graph import LayerGraph, Node
from keras_trt._keras.kernels import CONVOLUTIONS
from keras_trt.placement.decision import Decision
from keras_trt.placement.int8_readers import is_read
from keras_trt.placement.layer_kinds import (
    ATTENTION,
    ATTENTION_REASON,
    AVERAGE_POOLING,
    CELL_REASON,
    CELLS,
    FLOAT,
    FUSED_ACTIVATIONS,
    LAYOUT,
    NORMALIZATION_REASON,
    TRANSPARENT,
    UNREAD,
)
from keras_trt.placement.schemes import Scheme, fitting


def place(graph: LayerGraph) -> dict[str, Decision]:
    """One decision per layer of the graph, by path; a shared layer gets the union over its calls."""
    decisions: dict[str, Decision] = {}
    for node in graph.nodes:
        new, old = decide(graph, node), decisions.get(node.path)
        if old is not None and (old.quantized or not new.quantized):
            new = replace(old, inputs=_union(old.inputs, new.inputs))
        decisions[node.path] = new
    return only_where_read(graph, decisions)


def only_where_read(
    graph: LayerGraph,
    decisions: Mapping[str, Decision],
    standing: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, Decision]:
    """The decisions without quantisers that serve no int8 computation.

    A layer with weights, or with products inside, computes in int8 itself. Any other needs a reader: pooling
    and products one of their result, an addition or a normalisation the convolution before it.

    Args:
        graph: The layer graph.
        decisions: By path; layers inside others, which the graph does not show, may be among them.
        standing: By path, the quantised inputs of layers that are quantised already.
    """
    decided = dict(decisions)
    quantized = {path: d.inputs for path, d in decisions.items()} | dict(standing or {})
    calls: dict[str, list[Node]] = {}
    for node in graph.nodes:
        calls.setdefault(node.path, []).append(node)
    for path in reversed(calls):  # readers first
        decision = decided.get(path)
        if decision is None or not decision.inputs or decision.kernels or decision.inner:
            continue
        if rule := BEHIND_CONVOLUTIONS.get(decision.kind):
            placed = [rule(graph, node, quantized) for node in calls[path]]
            inputs = _union(*(positions for positions, _ in placed))
            decision = replace(decision, inputs=inputs, reason=placed[0][1])
        elif not any(is_read(graph, decided, quantized, node) for node in calls[path]):
            decision = Decision(path, decision.kind, reason=UNREAD)
        decided[path], quantized[path] = decision, decision.inputs
    return decided


def under_scheme(decision: Decision, scheme: Scheme, widths: tuple[int, ...]) -> Decision:
    """The decision narrowed to what a scheme can do.

    Args:
        decision: As `place` made it, for int8.
        scheme: The number formats.
        widths: How many inputs each of the layer's kernels sums over.
    """

    def float_because(reason: str) -> Decision:
        return Decision(decision.path, decision.kind, reason=reason)

    if not decision.quantized:
        return decision
    if scheme.activations is None and not decision.kernels:
        return float_because(f"{scheme.name} quantises weights only")
    weighted = decision.kernels and decision.kind != "Embedding"
    if scheme.weights == "fp8" and not weighted and decision.kind not in {"Add", *ATTENTION}:
        return float_because(
            "TensorRT computes convolutions, products and residual additions in fp8, no more"
        )
    if scheme.block is not None and decision.kind not in {"Dense", "EinsumDense"}:
        return float_because("TensorRT takes int4 weights in matrix products only")
    fits = fitting(scheme, widths)
    if fits is None:
        return float_because(f"its {widths[0]} inputs divide into no even blocks of 8 to {scheme.block}")
    if scheme.activations is None:
        decision = replace(decision, inputs=(), inner=False)
    return replace(decision, scheme=fits)


def place_alone(path: str, kind: str, kernels: tuple[str, ...], children: bool = False) -> Decision:
    """The decision for a layer whose surroundings cannot be seen (inside a custom layer or model)."""
    if children and kind not in ATTENTION:
        return Decision(path, kind, reason="its layers are quantised one by one")
    node = Node(key=path, path=path, kind=kind, kernels=kernels)
    if kind in {"Add", "Multiply", "BatchNormalization", "LayerNormalization"}:
        return Decision(path, kind, reason="what feeds it cannot be seen from outside the layer around it")
    return decide(LayerGraph((node,)), node)


def decide(graph: LayerGraph, node: Node) -> Decision:
    """The decision for one call."""
    if node.kind in FLOAT:
        return Decision(node.path, node.kind, reason=FLOAT[node.kind])
    if node.kind in ATTENTION:
        return Decision(node.path, node.kind, reason=ATTENTION_REASON, inner=True)
    if node.kind in CELLS:
        return Decision(node.path, node.kind, (), node.kernels, CELL_REASON)
    if node.kernels:
        inner = node.kind in {"SeparableConv1D", "SeparableConv2D"}
        return Decision(node.path, node.kind, (0,), node.kernels, "weighted layer: input and kernel", inner)
    inputs, reason = RULES.get(node.kind, _other)(graph, node)
    return Decision(node.path, node.kind, inputs, (), reason)


def _add(
    graph: LayerGraph, node: Node, quantized: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[tuple[int, ...], str]:
    """Leaves one convolution's branch bare: the deepest, since it is computed last.

    With `quantized`, the quantised inputs by path, only convolutions count that compute in int8.
    """
    branches = {i: _fused_convolution(graph, t) for i, t in enumerate(node.inputs)}
    candidates = {i: conv for i, conv in branches.items() if conv is not None}
    if quantized is not None:
        candidates = {i: conv for i, conv in candidates.items() if quantized.get(conv.path)}
    if not candidates:
        return (), "no branch comes straight from a convolution, so int8 would not fuse"
    order = {n.key: i for i, n in enumerate(graph.nodes)}
    bare = max(candidates, key=lambda i: (_depth(graph, candidates[i]), order[candidates[i].key]))
    inputs = tuple(i for i in range(len(node.inputs)) if i != bare)
    return inputs, f"residual addition: every branch but the one from {candidates[bare].path}"


def _layer_normalization(
    graph: LayerGraph, node: Node, quantized: Mapping[str, tuple[int, ...]] | None = None
) -> tuple[tuple[int, ...], str]:
    """A grid behind the convolution that feeds it; with `quantized`, if that computes in int8."""
    conv = _convolution_behind(graph, node.inputs[0])
    if conv is None or (quantized is not None and not quantized.get(conv.path)):
        return (), NORMALIZATION_REASON
    return (0,), f"so that {conv.path} writes int8; the normalisation itself is float"


def _multiply(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    gates = [s for s in node.input_shapes if len(s) > 2 and all(d == 1 for d in s[1:-1])]
    if len(node.inputs) == 2 and len(gates) == 1:
        return (0, 1), "squeeze-excite: both factors"
    return (), "an elementwise product stays float (swish, gates)"


def _batch_normalization(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    conv = _convolution_behind(graph, node.inputs[0], dense=True) if node.inputs else None
    if conv is not None:
        return (), f"folds into {conv.path}"
    return (), "no convolution feeds it directly: a scale in float"


def _average_pooling(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    return (0,), "average pooling computes in int8 only on an int8 input"


def _concatenate(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    return (), "its readers quantise the result: one scale covers all its inputs"


def _layout(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    return (), "moves values only: int8 passes through"


def _transparent(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    return (), "fuses with the layer before it or vanishes at inference"


def _input(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    return (), "an input of the model: the layers that read it quantise it"


def _other(graph: LayerGraph, node: Node) -> tuple[tuple[int, ...], str]:
    return (), "no int8 rule for this kind of layer"


Rule = Callable[[LayerGraph, Node], tuple[tuple[int, ...], str]]
RULES: dict[str, Rule] = {
    **dict.fromkeys(TRANSPARENT | {"ReLU", "LeakyReLU", "PReLU", "ELU"}, _transparent),
    "InputLayer": _input,
    **dict.fromkeys(LAYOUT, _layout),
    **dict.fromkeys(AVERAGE_POOLING, _average_pooling),
    "Add": _add,
    "Multiply": _multiply,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Concatenate": _concatenate,
}
BEHIND_CONVOLUTIONS = {"Add": _add, "LayerNormalization": _layer_normalization}
"""Rules that ask whether the convolution before computes in int8."""


def _fused_convolution(graph: LayerGraph, tensor: str) -> Node | None:
    """The convolution that makes `tensor`, also through an activation that fuses with it."""
    node = graph.producer(tensor)
    if node is None or graph.readers(tensor) != 1:
        return None
    if node.activation in FUSED_ACTIVATIONS:
        if node.kind in CONVOLUTIONS:
            return node
        return _convolution_behind(graph, node.inputs[0]) if not node.kernels else None
    if swished := _swish_of(graph, node):
        return _convolution_behind(graph, swished, readers=2)
    return _convolution_behind(graph, tensor)


def _swish_of(graph: LayerGraph, node: Node) -> str | None:
    """The tensor of which a product is the swish: that and its sigmoid."""
    if node.kind not in {"Multiply", "ops.Multiply"} or len(node.inputs) != 2:
        return None
    for factor, other in (node.inputs, node.inputs[::-1]):
        gate = graph.producer(other)
        sigmoid = gate is not None and (gate.kind == "ops.Sigmoid" or gate.activation == "sigmoid")
        if gate is not None and sigmoid and gate.inputs == (factor,) and not gate.kernels:
            return factor
    return None


def _convolution_behind(graph: LayerGraph, tensor: str, dense: bool = False, readers: int = 1) -> Node | None:
    """The convolution that makes `tensor`, looking through what folds into it, if nobody else reads it."""
    while True:
        node = graph.producer(tensor)
        if node is None or graph.readers(tensor) != readers:
            return None
        readers = 1
        if node.kind in CONVOLUTIONS or (dense and node.kernels):
            return node if node.linear else None
        if node.kind not in TRANSPARENT or not node.linear:
            return None
        tensor = node.inputs[0]


def _depth(graph: LayerGraph, node: Node) -> int:
    """The number of calls on the longest way from a model input to `node`."""
    depths: dict[str, int] = {}
    for other in graph.nodes:
        before = [depths[p.key] for t in other.inputs if (p := graph.producer(t)) is not None]
        depths[other.key] = 1 + max(before, default=0)
        if other.key == node.key:
            break
    return depths[node.key]


def _union(*positions: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({i for some in positions for i in some}))
