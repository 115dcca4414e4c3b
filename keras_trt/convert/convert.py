"""A traced model to ONNX, through tf2onnx."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from keras_trt._memory import free_graph
from keras_trt.convert.convertible import check_convertible
from keras_trt.convert.handlers import handlers
from keras_trt.convert.kernels import put_weights
from keras_trt.errors import ExportError
from keras_trt.trace.scopes import layer_of_scope

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace

TF2ONNX_OPSET = 18
"""The highest opset tf2onnx writes; `passes.opset` raises it afterwards."""

# The first two move Q and DQ apart or fold them away (`passes.qdq` places them for TensorRT); the last merges
# equal nodes in the order of a set, which differs from run to run.
_LEFT_OUT = ("q_dq_optimizer", "const_dequantize_optimizer", "merge_duplication")


def convert(trace: Trace, opset: int = TF2ONNX_OPSET) -> ir.Model:
    """Converts a trace; inputs and outputs get the names and shapes Keras gave them.

    tf2onnx knows the kernels of layers by their shapes only, and its optimisers work on one graph instead
    of on a copy each, so this takes a fraction of the time and memory of `tf2onnx.convert`.

    Args:
        trace: The traced model.
        opset: The opset asked for; the result has this one or tf2onnx's highest, if that is lower.

    Raises:
        ExportError: A layer works on strings or keeps a state, or tf2onnx failed.
    """
    import tensorflow as tf
    from tf2onnx import tf_utils, tfonnx

    check_convertible(trace)
    origins: dict[str, str] = {}
    with _quiet(), handlers() as custom, tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        constants = tf_utils.compress_graph_def(trace.graph_def)
        tf.import_graph_def(trace.graph_def, name="")
        _tell_shapes(graph, trace.shapes)
        try:
            converted = tfonnx.process_tf_graph(
                graph,
                opset=min(opset, TF2ONNX_OPSET),
                const_node_values=constants,
                custom_op_handlers=custom,
                input_names=[*trace.input_tensors, *(f"{name}:0" for name in trace.weights)],
                output_names=list(trace.output_tensors),
            )
            converted = _optimised(converted, origins)
        except Exception as e:  # tf2onnx raises whatever comes up
            raise ExportError(f"tf2onnx could not convert model {trace.name!r}: {e}{_loops(trace)}") from e
        proto = converted.make_model(trace.name, producer_name="keras_trt", producer_version="")
    operations = len(graph.get_operations())
    del graph, converted
    free_graph(operations)
    model = ir.serde.deserialize_model(proto)
    put_weights(
        model,
        {f"{name}:0": array for name, array in trace.weights.items()},
        {f"{name}:0": paths for name, paths in trace.holders.items()},
    )
    for node in model.graph:
        node.name = origins.get(node.name or "", node.name)
    _set_interface(model, trace)
    return model


def _loops(trace: Trace) -> str:
    """Which layers loop, for the error about a conversion that failed: tf2onnx knows few forms of loops."""
    nodes = [node for node in trace.graph_def.node if node.op in ("While", "StatelessWhile")]
    layers = dict.fromkeys(layer_of_scope(node.name, trace.layers) for node in nodes)
    named = ", ".join(repr(layer) for layer in layers if layer)
    if not named:
        return ""
    return (
        f". These layers loop: {named}. Take a recurrent layer of Keras, whose loops are known, write the "
        "steps out (`keras.ops.unstack` and a Python `for`), or leave the layer out and run it beside the "
        "engine."
    )


def _tell_shapes(graph: Any, shapes: Mapping[str, list[int | None]]) -> None:
    """Gives the tensors of a graph the shapes that layers know and TensorFlow cannot compute again."""
    for op in graph.get_operations():
        for tensor in op.outputs:
            if tensor.name in shapes:
                tensor.set_shape(shapes[tensor.name])


def _optimised(graph: Any, origins: dict[str, str]) -> Any:
    """Runs tf2onnx's optimisers until none changes anything.

    `tf2onnx.optimizer.optimize_graph` does the same, but copies all weights before and after every step.
    """
    factories = _optimizers(origins)
    iteration, changed = 0, True
    while changed:
        changed = False
        for factory in factories:
            step = factory()
            step.opt_iteration = iteration
            graph = step._optimize(graph) or graph
            graph.delete_unused_nodes(graph.outputs)
            changed = changed or step.graph_been_opt
        iteration += 1
    graph.topological_sort(graph.get_nodes())
    return graph


def _optimizers(origins: dict[str, str]) -> list[Any]:
    """tf2onnx's optimisers; `origins` is filled with the old name of each Conv that gets a new one."""
    from tf2onnx import optimizer
    from tf2onnx.optimizer import transpose_optimizer

    class NamedTransposeOptimizer(optimizer.TransposeOptimizer):
        """Merging a bias into a Conv makes a nameless node; this notes which Conv it was."""

        def _optimize_at_current_graph_level(self, graph: Any) -> Any:
            """The base class starts over at the first node after every step: minutes in deep graphs."""
            self._g = graph
            self.pre_optimize_action()
            moved = True
            while moved:
                transposes = [node for node in graph.get_nodes() if node.type == "Transpose"]
                moved = any([self._move_down(node) for node in transposes])
                if moved:
                    self.graph_been_opt = True
            self.merge_duplicated_transposes()
            self.post_optimize_action()
            return graph

        def _move_down(self, trans: Any) -> bool:
            """Moves one Transpose past as many nodes as it can, or removes it."""
            moved = False
            while self._g.get_node_by_name(trans.name) is trans:
                if transpose_optimizer.is_useless_transpose(trans):
                    self._remove_useless_tranpose(trans)
                    return True
                if not (transpose_optimizer.is_transpose(trans) and self._handle_nhwc_tranpose(trans)):
                    break
                moved = True
            return moved

        def _mul_handler(self, trans: Any, node: Any) -> Any:
            """The base class leaves a square its old shape, and makes a wrong Reshape of it later."""
            square, shape = node.input[0] == node.input[1], self._g.get_shape(node.output[0])
            handled = super()._mul_handler(trans, node)
            if handled and square and shape:
                perm = trans.get_attr_value("perm")
                self._g.set_shape(node.output[0], [shape[i] for i in transpose_optimizer.invert_perm(perm)])
            return handled

        def _add_handler(self, trans: Any, node: Any) -> Any:
            old = trans.inputs[0].name
            handled = super()._add_handler(trans, node)
            source = trans.inputs[0] if trans.graph is not None and trans.input else None
            if handled and source is not None and source.name != old:
                origins[source.name] = origins.get(old, old)
            return handled

    chosen = {name: o for name, o in optimizer._get_optimizers().items() if name not in _LEFT_OUT}
    return list({**chosen, "optimize_transpose": NamedTransposeOptimizer}.values())


def _set_interface(model: ir.Model, trace: Trace) -> None:
    graph = model.graph
    graph.name = trace.name
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    new_inputs = [inputs[name] for name in trace.input_tensors]
    new_outputs = [outputs[name] for name in trace.output_tensors]
    _free_names(graph, {info.name for info in (*trace.inputs, *trace.outputs)})
    for info, value in zip((*trace.inputs, *trace.outputs), (*new_inputs, *new_outputs), strict=True):
        value.name = info.name
        value.shape = ir.Shape(info.shape)
    graph.inputs[:] = new_inputs
    graph.outputs[:] = new_outputs


def _free_names(graph: ir.Graph, wanted: set[str]) -> None:
    """Renames tensors inside the graph that bear a name an input or output needs."""
    for value in all_values(graph):
        if value.name in wanted:
            value.name = f"{value.name}__inner"


def all_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs, initializers and node outputs of the graph."""
    yield from graph.inputs
    yield from list(graph.initializers.values())
    for node in graph:
        yield from node.outputs


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences tf2onnx's loggers, which write to stderr by default, then restores them."""
    logger = logging.getLogger("tf2onnx")
    level, disabled = logger.level, logger.disabled
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.disabled = disabled


def foreign_ops(model: ir.Model) -> list[Any]:
    """Nodes whose operator is not part of ONNX's own domain at the model's opset."""
    import onnx.defs

    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    return [node for node in model.graph.all_nodes() if node.domain or node.op_type not in known]
