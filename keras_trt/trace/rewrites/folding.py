"""Computes the constant part of a frozen graph at once, so that nobody has to do it node by node later.

That is batch normalisation's square roots, casts of weights, and the rounding of quantised kernels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_trt._machine.protobuf import LARGEST
from keras_trt.trace.graph_view import GraphView, index_of, is_control, node_of
from keras_trt.trace.weights import make_constant, make_weight

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef, NodeDef

_ALIASES = ("Identity", "StopGradient", "PreventGradient", "Snapshot", "IdentityN")
_NEVER = ("Placeholder", "PlaceholderWithDefault", "NoOp", "Const")
_GROWTH = 1 << 20  # elements; larger results are left to be computed when they grow out of small inputs
_SMALL = 1 << 16  # bytes


class Folded(NamedTuple):
    """What is constant in a graph and stands beside it.

    Attributes:
        weights: The values of placeholders that the graph still has, by name.
        origins: The placeholders that each was computed from.
    """

    weights: dict[str, np.ndarray]
    origins: dict[str, frozenset[str]]


def fold_constants(
    graph_def: GraphDef,
    outputs: Iterable[str],
    weights: Mapping[str, np.ndarray] | None = None,
    origins: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Folded:
    """Replaces every node that depends on constants only by its value; the graph is changed in place.

    Args:
        graph_def: A frozen `GraphDef`.
        outputs: Names of the tensors that the graph must still make.
        weights: The values of placeholders that are constants too, of which new values become more; None:
            there are none, and new values become `Const` nodes.
        origins: What each of `weights` was computed from.
    """
    keep = {node_of(name) for name in outputs}
    graph = GraphView(graph_def)
    nodes = graph.nodes
    known = {
        name: value for name, value in (weights or {}).items() if name in nodes
    }  # inlining drops unread ones
    constant = constant_nodes(graph_def, known)
    for node in graph_def.node:  # skip over aliases, so that nodes read constants directly
        node.input[:] = [
            _source(nodes, constant, name) for name in node.input if not _is_control(name, constant)
        ]
    computed = {n for n in constant if nodes[n].op not in ("Const", "Placeholder", *_ALIASES)}
    wanted = {
        node_of(name)
        for node in graph_def.node
        if node.name not in constant
        for name in node.input
        if node_of(name) in computed
    }
    wanted |= {name for name in keep if name in computed}
    computed_from = dict(origins)
    for name, value in evaluate(graph_def, graph, sorted(wanted), known).items():
        if weights is None:
            make_constant(nodes[name], value)
        else:
            above = (computed_from.get(n, frozenset()) for n in graph.above([name], control=True))
            computed_from[name] = frozenset().union(*above)
            make_weight(nodes[name], value)
            known[name] = value
    _prune(graph_def, keep, known)
    remaining = {node.name for node in graph_def.node}
    return Folded({name: value for name, value in known.items() if name in remaining}, computed_from)


def constant_nodes(graph_def: GraphDef, weights: Iterable[str]) -> set[str]:
    """The nodes that depend on constants only (`graph_def.node` need not be sorted)."""
    from tensorflow.python.framework import op_def_registry

    nodes = {node.name: node for node in graph_def.node}
    known = dict.fromkeys(weights, True)
    for start in nodes:
        stack = [start]
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
                continue
            node = nodes[name]
            if node.op == "Const":
                known[name] = True
                continue
            if node.op in _NEVER or not node.input or not _is_plain(op_def_registry.get(node.op)):
                known[name] = False
                continue
            parents = [node_of(i) for i in node.input]
            open_ = [p for p in parents if p not in known]
            if open_:
                stack.extend(open_)
                continue
            known[name] = all(known[p] or nodes[p].op == "NoOp" for p in parents)
    return {name for name, is_constant in known.items() if is_constant}


def _is_plain(definition: Any) -> bool:
    """Whether an operator has no state and makes tensors (loops pass lists of tensors around)."""
    import tensorflow as tf

    opaque = (tf.variant.as_datatype_enum, tf.resource.as_datatype_enum)
    if definition is None or definition.is_stateful:
        return False
    return not any(arg.type in opaque for arg in (*definition.input_arg, *definition.output_arg))


def _is_control(name: str, constant: set[str]) -> bool:
    """Whether an input is a control edge from a constant, which orders nothing."""
    return is_control(name) and node_of(name) in constant


def _source(nodes: dict[str, NodeDef], constant: set[str], name: str) -> str:
    """The tensor behind constant aliases."""
    while not is_control(name) and node_of(name) in constant and nodes[node_of(name)].op in _ALIASES:
        name = nodes[node_of(name)].input[index_of(name)]
    return name


def evaluate(
    graph_def: GraphDef, view: GraphView, wanted: list[str], weights: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The values of single-output nodes, from runs of the part of the graph above them.

    What depends on weights is computed one after the other, so that intermediate results take little memory.
    """
    import tensorflow as tf

    above = {name: view.above([name]) for name in wanted}
    needed = set().union(*above.values())
    subgraph = tf.compat.v1.GraphDef(versions=graph_def.versions)
    subgraph.node.extend(view.nodes[name] for name in sorted(needed))
    for node in subgraph.node:  # constants need no order, and what runs before them may read the inputs
        node.input[:] = [tensor for tensor in node.input if not is_control(tensor)]
    subgraph.library.CopyFrom(graph_def.library)  # a branch or loop over constants is one
    if not wanted or subgraph.ByteSize() > LARGEST:
        return {}
    values: dict[str, np.ndarray] = {}
    with tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        tf.import_graph_def(subgraph, name="")
        single = [n for n in wanted if len(graph.get_operation_by_name(n).outputs) == 1]
        with tf.compat.v1.Session(graph=graph, config=_unoptimized()) as session:
            for names in _runs(single, above, weights):
                feeds = {f"{w}:0": weights[w] for n in names for w in above[n] & weights.keys()}
                results = session.run([f"{name}:0" for name in names], feeds)
                values.update(
                    (n, _shared(view.nodes[n], v, weights)) for n, v in zip(names, results, strict=True)
                )
    return {
        name: value
        for name, value in values.items()
        if np.size(value) <= _GROWTH or np.size(value) <= 4 * _size(view.nodes, above[name], weights)
    }


def _shared(node: NodeDef, value: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The value of a node; that of a reshaped weight shares the weight's memory."""
    source = weights.get(node_of(node.input[0])) if node.op == "Reshape" else None
    return value if source is None else source.reshape(value.shape)


def _unoptimized() -> Any:
    """The settings of a session that runs its graph as it is, in this thread: everything in it runs once."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1  # L0
    return config


def _runs(
    names: list[str], above: dict[str, set[str]], weights: dict[str, np.ndarray]
) -> Iterator[list[str]]:
    """What to compute together: each node below a large weight alone, all others at once."""
    large = {name for name, value in weights.items() if value.nbytes > _SMALL}
    alone = [name for name in names if above[name] & large]
    yield from ([name] for name in alone)
    if len(alone) < len(names):
        yield [name for name in names if not above[name] & large]


def _size(nodes: dict[str, NodeDef], names: Iterable[str], weights: dict[str, np.ndarray]) -> int:
    """Elements in the constants and weights among some nodes."""
    total = 0
    for name in names:
        if name in weights:
            total += weights[name].size
        elif nodes[name].op == "Const":
            sizes = [dim.size for dim in nodes[name].attr["value"].tensor.tensor_shape.dim]
            total += int(np.prod(sizes, dtype=np.int64))
    return total


def _prune(graph_def: GraphDef, keep: set[str], weights: dict[str, np.ndarray]) -> None:
    """Removes the nodes that no output needs, the model's inputs excepted."""
    inputs = (n.name for n in graph_def.node if n.op.startswith("Placeholder") and n.name not in weights)
    needed = GraphView(graph_def).above([*keep, *inputs], control=True)
    for i in reversed(range(len(graph_def.node))):
        if graph_def.node[i].name not in needed:
            del graph_def.node[i]
