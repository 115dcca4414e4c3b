"""Gives each layer a scope of its own in a traced graph: a node's name then says which layer made it.

The scopes of Keras do not: TensorFlow adds `_1` to a scope that is entered again, Keras's own names end that
way too, and two layers may have one name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from keras_trt._keras.calls.record import Function, replaced_calls
from keras_trt._keras.flavor import Flavor
from keras_trt._keras.types import Model

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef

_SCOPE = re.compile(r"\.ktrt(\d+)")  # behind the layer's path, which is for readers
_INLINED = re.compile(r"(.+)/(.*)_tfg_inlined_\1_\d+")  # TensorFlow's `<call>/<node>_tfg_inlined_<call>_0`


@contextmanager
def layer_scopes(flavor: Flavor, model: Model) -> Iterator[tuple[str, ...]]:
    """While open, what a layer of the model computes bears its number; gives the layers' paths in that order.

    The layer is found whatever calls it: another layer's code, a loop, a `tf.function`, a wrapper.
    """
    paths = tuple(path for path, _ in flavor.walk(model))
    numbers = {path: number for number, path in enumerate(paths)}
    bodies: dict[Any, int] = {}  # by the graph of a loop's or branch's body, kept so that none gets its id

    def scoped(path: str, call: Function) -> Function:
        readable = re.sub(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_./-]", ".", path)
        scope = f"{readable}.ktrt{numbers[path]}/"  # the slash: this very scope, whatever is around it

        if isinstance(call, flavor.tf.types.experimental.PolymorphicFunction):
            call = flavor.tf.function(call.python_function)  # a trace from elsewhere has no such scopes

        def enter(*args: object, **kwargs: object) -> Any:
            graph = flavor.tf.compat.v1.get_default_graph()
            inner = bool(getattr(getattr(graph, "outer_graph", None), "building_function", False))
            # The body of a loop needs other names than the graph around it: ONNX tells tensors by them.
            body = f"body_{bodies.setdefault(graph, len(bodies))}/" if inner else ""
            with flavor.tf.name_scope(f"{scope}{body}"):
                return call(*args, **kwargs)

        return enter

    with replaced_calls(flavor, model, scoped):
        yield paths


def layer_of_scope(name: str, layers: Sequence[str]) -> str | None:
    """The layer whose call made a node, the innermost one; None when it was no layer of the model.

    Args:
        name: The node's name in a graph that was traced inside `layer_scopes`.
        layers: The paths that it gave.
    """
    inlined = _INLINED.match(name) if "_tfg_inlined_" in name else None
    numbers = _SCOPE.findall(name[: inlined.end(2)] if inlined else name)
    return layers[int(numbers[-1])] if numbers else None


def computing_layers(graph_def: GraphDef, layers: Sequence[str]) -> frozenset[str]:
    """The layers of which something is computed when a graph runs.

    Not so are layers whose results no output needs (heads for training, unused outputs of a backbone), that
    nobody calls, or that compute on constants.

    Args:
        graph_def: A frozen graph without constant arithmetic and unneeded nodes.
        layers: See `layer_of_scope`.
    """
    nodes = chain(graph_def.node, *(function.node_def for function in graph_def.library.function))
    paths = {layer_of_scope(node.name, layers) for node in nodes if node.op not in ("Const", "Placeholder")}
    return frozenset(path for path in paths if path is not None)
