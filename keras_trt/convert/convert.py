"""A traced model to ONNX, through tf2onnx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from keras_trt._machine.memory import free_graph
from keras_trt.convert.convertible import check_convertible
from keras_trt.convert.handlers import HANDLERS
from keras_trt.convert.kernels import put_weights
from keras_trt.convert.tf2onnx_seam import HIGHEST_OPSET, as_before, constants_of, graph_to_onnx
from keras_trt.errors import ExportError
from keras_trt.trace.scopes import layer_of_scope

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace


def convert(trace: Trace, opset: int = HIGHEST_OPSET) -> ir.Model:
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

    check_convertible(trace)
    with as_before(), tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        constants = constants_of(trace.graph_def)
        tf.import_graph_def(trace.graph_def, name="")
        _tell_shapes(graph, trace.shapes)
        try:
            converted, origins = graph_to_onnx(
                graph,
                constants,
                HANDLERS,
                opset=min(opset, HIGHEST_OPSET),
                inputs=[*trace.input_tensors, *(f"{name}:0" for name in trace.weights)],
                outputs=list(trace.output_tensors),
            )
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
        f". These layers loop: {named}. Take a recurrent layer of Keras or `keras.ops.scan`, whose loops "
        "are known, write the steps out (`keras.ops.unstack` and a Python `for`), or leave the layer out and "
        "run it beside the engine."
    )


def _tell_shapes(graph: Any, shapes: Mapping[str, list[int | None]]) -> None:
    """Gives the tensors of a graph the shapes that layers know and TensorFlow cannot compute again."""
    for op in graph.get_operations():
        for tensor in op.outputs:
            if tensor.name in shapes:
                tensor.set_shape(shapes[tensor.name])


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


def foreign_ops(model: ir.Model) -> list[Any]:
    """Nodes whose operator is not part of ONNX's own domain at the model's opset."""
    import onnx.defs

    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    return [node for node in model.graph.all_nodes() if node.domain or node.op_type not in known]
