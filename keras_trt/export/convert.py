"""A traced model to ONNX, through tf2onnx."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from keras_trt.errors import ExportError
from keras_trt.export.handlers import handlers

if TYPE_CHECKING:
    from keras_trt._keras.trace import Trace

TF2ONNX_OPSET = 18
"""The highest opset tf2onnx writes; `passes.opset` raises it afterwards."""

# The first two move Q and DQ apart or fold them away (`passes.qdq` places them for TensorRT); the last merges
# equal nodes in the order of a set, which differs from run to run.
_LEFT_OUT = ("q_dq_optimizer", "const_dequantize_optimizer", "merge_duplication")


def convert(trace: Trace, opset: int = TF2ONNX_OPSET) -> ir.Model:
    """Converts a trace; inputs and outputs get the names and shapes Keras gave them.

    Weights stay out of TensorFlow's graph (tf2onnx's large-model way), and its optimisers work on one
    graph instead of on a copy each, so this is several times faster than `tf2onnx.convert`.

    Args:
        trace: The traced model.
        opset: The opset asked for; the result has this one or tf2onnx's highest, if that is lower.

    Raises:
        ExportError: tf2onnx failed.
    """
    import tensorflow as tf
    from tf2onnx import tf_utils, tfonnx

    origins: dict[str, str] = {}
    with _quiet(), handlers() as custom, tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        weights = tf_utils.compress_graph_def(trace.graph_def)
        tf.import_graph_def(trace.graph_def, name="")
        try:
            converted = tfonnx.process_tf_graph(
                graph,
                opset=min(opset, TF2ONNX_OPSET),
                const_node_values=weights,
                custom_op_handlers=custom,
                input_names=list(trace.input_tensors),
                output_names=list(trace.output_tensors),
            )
            converted = _optimised(converted, origins)
        except Exception as e:  # tf2onnx raises whatever comes up
            raise ExportError(f"tf2onnx could not convert model {trace.name!r}: {e}") from e
        proto = converted.make_model(trace.name, producer_name="keras_trt", producer_version="")
    model = ir.serde.deserialize_model(proto)
    for node in model.graph:
        node.name = origins.get(node.name or "", node.name)
    _set_interface(model, trace)
    return model


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

    class NamedTransposeOptimizer(optimizer.TransposeOptimizer):
        """Merging a bias into a Conv makes a nameless node; this notes which Conv it was."""

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
