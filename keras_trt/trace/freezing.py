"""Freezes a traced function: one graph without variables, and its weights as arrays beside it.

In the graph a weight would be copied by each step that reads, rewrites or imports it, several times over. As
arrays they mostly share the memory of the model's own variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt._base.private import private
from keras_trt.errors import ExportError
from keras_trt.trace.graph_view import node_of
from keras_trt.trace.rewrites.branch_state import held, held_within, hold_updates
from keras_trt.trace.rewrites.branches import choose_branches, fill_in_sizes
from keras_trt.trace.rewrites.drawing import draw_anew
from keras_trt.trace.rewrites.folding import fold_constants
from keras_trt.trace.rewrites.lists import inline_lists
from keras_trt.trace.rewrites.signed_zero import drop_signed_zero, read_signs
from keras_trt.trace.rewrites.state import STATE, drop_updates
from keras_trt.trace.rewrites.tables import inline_tables
from keras_trt.trace.weights import embed, hollow, make_weight, view

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef
    from tensorflow.types.experimental import ConcreteFunction

# The operators whose kernel may be known to tf2onnx by its shape alone, and which input that is.
_KERNELS = {
    "Conv2D": 1,
    "Conv3D": 1,
    "DepthwiseConv2dNative": 1,
    "Conv2DBackpropInput": 1,
    "Conv3DBackpropInputV2": 1,
    "MatMul": 1,
    "BatchMatMulV2": 1,
    "Einsum": 1,
    "GatherV2": 0,
}


@dataclass(frozen=True)
class TracedGraph:
    """What freezing needs of a traced function, without TensorFlow's own graph, which can go before.

    Attributes:
        graph_def: The graph; variables, tables and captured tensors are placeholders.
        values: The values of variables and captured tensors, by the name of the placeholder.
        variables: The identity of each variable's handle, likewise.
        resources: The handles of tables, likewise.
        inputs: The names of the model's input tensors.
        outputs: The names of its output tensors.
        shapes: What the layers said of the shapes of tensors, which a `GraphDef` does not hold, by name.
    """

    graph_def: GraphDef
    values: dict[str, np.ndarray]
    variables: dict[str, int]
    resources: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: dict[str, list[int | None]]


def read_graph(tf: ModuleType, concrete: ConcreteFunction, n_inputs: int) -> TracedGraph:
    """The graph of a traced function; its first inputs are those of the model, and `n_inputs` in number."""
    from tensorflow.python.framework import convert_to_constants as tf_convert

    concrete.graph.clear_collection("table_initializer")  # TensorFlow cannot serialise it and warns
    graph_def = concrete.graph.as_graph_def()
    if graph_def.library.function:
        graph_def = tf_convert._run_inline_graph_optimization(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
    captures = concrete.graph.captures
    return TracedGraph(
        graph_def=graph_def,
        values=_captured(concrete, (tf.resource, tf.variant)),
        variables={inner.op.name: id(outer) for outer, inner in captures if outer.dtype == tf.resource},
        resources={inner.op.name: outer for outer, inner in captures if outer.dtype == tf.resource},
        inputs=tuple(tensor.name for tensor in concrete.inputs[:n_inputs]),
        outputs=tuple(tensor.name for tensor in concrete.outputs),
        shapes={tensor.name: tensor.shape.as_list() for tensor in _tensors(concrete) if tensor.shape.rank},
    )


def _tensors(concrete: ConcreteFunction) -> Iterable[Any]:
    return (tensor for op in concrete.graph.get_operations() for tensor in op.outputs)


def freeze(traced: TracedGraph) -> tuple[Any, dict[str, np.ndarray], dict[str, frozenset[str]]]:
    """The graph without variables, and its weights.

    Constant arithmetic is done, calls of functions are inlined.

    Returns:
        The `GraphDef`, and the kernels of its convolutions, products and embeddings by the name of the
        placeholder that stands for them. All other variables and captured tensors are `Const` nodes. Then the
        placeholders of `traced` that each kernel was computed from.

    Raises:
        ExportError: The function changes variables.
    """
    values, outputs = dict(traced.values), traced.outputs
    try:
        graph_def = _without_variables(traced.graph_def, values)
    except ValueError as e:
        raise ExportError(
            f"TensorFlow could not freeze the model's variables: {e}. Layers that change their own state "
            "at inference (stateful=True, counters) cannot be exported."
        ) from e
    for node in graph_def.node:
        if node.name in values and node.op in ("Const", "Placeholder"):
            make_weight(node, values[node.name])
    draw_anew(graph_def)
    values = drop_updates(graph_def, outputs, values)
    hold_updates(graph_def, outputs)
    inline_tables(graph_def, traced.resources)
    needed = (*traced.inputs, *outputs)
    origins = {name: frozenset([name]) for name in values}
    graph_def = _inlined(graph_def, needed)
    lasting = held(graph_def)
    inline_lists(graph_def, values)
    drop_signed_zero(graph_def)
    read_signs(graph_def)
    values, origins = fold_constants(graph_def, outputs, values, origins)
    open_ends = True
    while open_ends:
        open_ends = fill_in_sizes(graph_def)
        if open_ends:
            values, origins = fold_constants(graph_def, outputs, values, origins)
        if choose_branches(graph_def, values):  # of a size, a variable or a constant
            open_ends = True
            graph_def = _inlined(graph_def, needed)
            lasting += held(graph_def)
            values, origins = fold_constants(graph_def, outputs, values, origins)
    _note_state(graph_def, [*lasting, *held_within(graph_def)])
    kernels = _kernels(graph_def, values)
    embed(graph_def, {name: value for name, value in values.items() if name not in kernels})
    return graph_def, kernels, {name: origins[name] for name in kernels}


def _note_state(graph_def: GraphDef, updates: Iterable[str]) -> None:
    """Adds a node for each update that a branch or loop makes: the layer is refused for it."""
    for name in updates:
        graph_def.node.add(name=f"{name}{STATE}", op="NoOp")


def check_dense(tf: ModuleType, outputs: Mapping[str, object]) -> None:
    """Makes sure that a traced function returns ordinary tensors.

    Raises:
        ExportError: One is sparse or ragged.
    """
    for name, output in outputs.items():
        if not isinstance(output, tf.Tensor):
            raise ExportError(
                f"Output {name!r} is a {type(output).__name__}; TensorRT has dense tensors only. Build the "
                "layer that makes it with `sparse=False` (or `ragged=False`), or make the output dense in "
                "the model with `tf.sparse.to_dense` (or `.to_tensor()`)."
            )


def _captured(concrete: ConcreteFunction, opaque: Iterable[object]) -> dict[str, np.ndarray]:
    """The values of variables and of captured tensors (e.g. a Normalization's mean), by placeholder."""
    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    values = {}
    for outer, inner in concrete.graph.captures:
        if id(outer) in variables:
            values[inner.op.name] = view(variables[id(outer)])
        elif outer.dtype not in opaque:
            values[inner.op.name] = np.asarray(outer)
    return values


def _without_variables(graph_def: GraphDef, values: Mapping[str, np.ndarray]) -> GraphDef:
    """The graph with hollow constants in the place of variables."""
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants as tf_convert

    converter = tf_convert._ConverterData(graph_def)
    for name, value in values.items():
        dtype = tf.as_dtype(value.dtype).as_datatype_enum
        data = tf_convert._TensorData(numpy=hollow(value), dtype=dtype, index=None)
        converter.tensor_data[name] = data
    return tf_convert._replace_variables_by_constants(converter)[0]


@contextmanager
def gradients_forgotten() -> Iterator[list[Any]]:
    """Takes the gradient functions of graphs out of TensorFlow's register, which would keep them for good.

    Yields a list for the graphs that are built while this is open; it is empty afterwards, so that they are
    gone again, as is one whose tracing failed. What was registered before stays: a function of the user's
    that was traced earlier stands in these graphs, too, and is trained with later.
    """
    from tensorflow.python.framework import ops

    register = private(ops.gradient_registry, "_registry", "tensorflow")
    graphs: list[Any] = []
    before = set(register)
    try:
        yield graphs
    finally:
        for graph in graphs:
            for name in _gradients(graph.as_graph_def()) - before:
                register.pop(name, None)
        graphs.clear()


def _gradients(graph_def: GraphDef) -> set[str]:
    """The names under which the gradient functions of a graph's nodes are registered."""
    functions = (function.node_def for function in graph_def.library.function)
    nodes = (node for node in chain(graph_def.node, *functions) if "_gradient_op_type" in node.attr)
    return {node.attr["_gradient_op_type"].s.decode() for node in nodes}


def _inlined(graph_def: GraphDef, needed: Iterable[str]) -> GraphDef:
    """The graph without calls to XLA-compiled functions (Keras 3 puts grouped convolutions in one)."""
    if not any(node.op in ("PartitionedCall", "StatefulPartitionedCall") for node in graph_def.node):
        return graph_def
    for node in (*graph_def.node, *graph_def.library.function):
        for attr in ("_XlaMustCompile", "_noinline"):
            if attr in node.attr:
                del node.attr[attr]
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.optimizers[:] = ["function"]
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs are skipped otherwise
    meta = meta_graph_pb2.MetaGraphDef(graph_def=graph_def)
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend(needed)
    meta.collection_def["train_op"].CopyFrom(fetched)
    graph_def = tf_optimizer.OptimizeGraph(config, meta)
    for node in graph_def.node:
        node.attr.pop("_class", None)  # a device next to that of another node, which may be folded away
    return graph_def


def _kernels(graph_def: GraphDef, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights that only serve as kernels; some of the others tf2onnx wants to look into."""
    uses: dict[str, bool] = {}
    for node in graph_def.node:
        for index, tensor in enumerate(node.input):
            name = node_of(tensor)
            uses[name] = uses.get(name, True) and _KERNELS.get(node.op) == index
    return {name: value for name, value in values.items() if uses.get(name, False)}
