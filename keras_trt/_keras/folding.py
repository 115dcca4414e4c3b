"""Computes the constant part of a frozen graph at once, so that nobody has to do it node by node later.

That is batch normalisation's square roots, casts of weights, and the rounding of quantised kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_ALIASES = ("Identity", "StopGradient", "PreventGradient", "Snapshot", "IdentityN")
_NEVER = ("Placeholder", "PlaceholderWithDefault", "NoOp", "Const")
_GROWTH = 1 << 20  # elements; larger results are left to be computed when they grow out of small inputs
_LIMIT = 1_900_000_000  # bytes; TensorFlow reads no larger graph


def fold_constants(graph_def: Any, outputs: Iterable[str]) -> None:
    """Replaces every node that depends on constants only by its value, in place.

    Args:
        graph_def: A frozen `GraphDef`.
        outputs: Names of the tensors that the graph must still make.
    """
    keep = {name.split(":")[0] for name in outputs}
    nodes = {node.name: node for node in graph_def.node}
    constant = _constant_nodes(graph_def)
    for node in graph_def.node:  # skip over aliases, so that nodes read constants directly
        node.input[:] = [
            _source(nodes, constant, name) for name in node.input if not _is_control(name, constant)
        ]
    computed = {n for n in constant if nodes[n].op not in ("Const", *_ALIASES)}
    wanted = {
        name.split(":")[0]
        for node in graph_def.node
        if node.name not in constant
        for name in node.input
        if name.split(":")[0] in computed
    }
    wanted |= {name for name in keep if name in computed}
    values = _evaluate(graph_def, nodes, sorted(wanted))
    for name, value in values.items():
        _make_constant(nodes[name], value)
    _prune(graph_def, keep)


def _constant_nodes(graph_def: Any) -> set[str]:
    """The nodes that depend on constants only (`graph_def.node` need not be sorted)."""
    from tensorflow.python.framework import op_def_registry

    nodes = {node.name: node for node in graph_def.node}
    known: dict[str, bool] = {}
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
            parents = [_node_name(i) for i in node.input]
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


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").split(":")[0]


def _is_control(name: str, constant: set[str]) -> bool:
    """Whether an input is a control edge from a constant, which orders nothing."""
    return name.startswith("^") and _node_name(name) in constant


def _source(nodes: dict[str, Any], constant: set[str], name: str) -> str:
    """The tensor behind constant aliases."""
    while (
        not name.startswith("^") and _node_name(name) in constant and nodes[_node_name(name)].op in _ALIASES
    ):
        node = nodes[_node_name(name)]
        index = int(name.split(":")[1]) if ":" in name else 0
        name = node.input[index]
    return name


def _evaluate(graph_def: Any, nodes: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    """The values of single-output nodes, from one run of the part of the graph above them."""
    import numpy as np
    import tensorflow as tf

    part = tf.compat.v1.GraphDef(versions=graph_def.versions)
    seen: set[str] = set()
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        part.node.append(nodes[name])
        stack += [_node_name(i) for i in nodes[name].input]
    if not wanted or part.ByteSize() > _LIMIT:
        return {}
    with tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        tf.import_graph_def(part, name="")
        single = [n for n in wanted if len(graph.get_operation_by_name(n).outputs) == 1]
        with tf.compat.v1.Session(graph=graph) as session:
            values = session.run([f"{name}:0" for name in single])
    return {
        name: value
        for name, value in zip(single, values, strict=True)
        if np.size(value) <= _GROWTH or np.size(value) <= 4 * _input_size(nodes, name)
    }


def _input_size(nodes: dict[str, Any], name: str) -> int:
    """Elements in the constants above a node."""
    total, stack, seen = 0, [name], set()
    while stack:
        node = nodes[stack.pop()]
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.op == "Const":
            size = 1
            for dim in node.attr["value"].tensor.tensor_shape.dim:
                size *= dim.size
            total += size
        stack += [_node_name(i) for i in node.input]
    return total


def _make_constant(node: Any, value: Any) -> None:
    import tensorflow as tf

    node.op = "Const"
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def _prune(graph_def: Any, keep: set[str]) -> None:
    """Removes the nodes that no output needs, placeholders excepted."""
    nodes = {node.name: node for node in graph_def.node}
    needed: set[str] = set()
    stack = [*keep, *(n.name for n in graph_def.node if n.op.startswith("Placeholder"))]
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack += [_node_name(i) for i in nodes[name].input]
    for i in reversed(range(len(graph_def.node))):
        if graph_def.node[i].name not in needed:
            del graph_def.node[i]
