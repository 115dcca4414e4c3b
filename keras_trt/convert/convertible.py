"""What no converter can express, checked before the conversion: with the Keras layer and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_trt.convert.types import Node
from keras_trt.errors import ExportError
from keras_trt.trace.graph_view import GraphView
from keras_trt.trace.rewrites.state import STATE, UPDATES
from keras_trt.trace.scopes import layer_of_scope

if TYPE_CHECKING:
    from keras_trt.trace.trace import Trace

_STRING = 7  # tensorflow.DType
_TALK = ("Assert", "Print", "PrintV2", "StringFormat")  # these vanish


def check_convertible(trace: Trace) -> None:
    """Makes sure that a model works on numbers, keeps no state and holds no foreign program.

    Raises:
        ExportError: A layer does not; it is named.
    """
    graph = GraphView(trace.graph_def)
    computing = graph.above(trace.output_tensors)

    def where(node: Node) -> str:
        layer = layer_of_scope(node.name, trace.layers)
        return f"Layer {layer!r}" if layer else f"Model {trace.name!r} (node {node.name!r})"

    for node in graph.nodes.values():
        if node.op in UPDATES or node.name.endswith(STATE):
            raise ExportError(
                f"{where(node)} keeps a state from one call to the next, and an engine computes the same for "
                "the same inputs. Build it with `stateful=False`; to carry a state along, make it an input "
                "(`initial_state=`) and an output (`return_state=True`) of the model."
            )
    for node in (node for name, node in graph.nodes.items() if name in computing):
        if node.op == "XlaCallModule":
            raise ExportError(
                f"{where(node)} is a compiled program of JAX, which no converter reads. Write it with layers "
                "or operations of Keras, or leave it out of the exported model and run it beside the engine."
            )
        if node.op not in ("Placeholder", "Const", *_TALK) and _holds_strings(node):
            raise ExportError(
                f"{where(node)} works on strings (TensorFlow operator `{node.op}`), and TensorRT has none. "
                "Run the layer before the model, e.g. with `dataset.map(layer)`, and give the exported model "
                "the numbers it makes."
            )


def _holds_strings(node: Node) -> bool:
    """Whether a node takes or makes strings, by its attributes or by the definition of its operator."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    arguments = () if definition is None else (*definition.input_arg, *definition.output_arg)
    return any(_STRING in (attr.type, *attr.list.type) for attr in node.attr.values()) or any(
        argument.type == _STRING for argument in arguments
    )
