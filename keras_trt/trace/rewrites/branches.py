"""Decides while exporting what only depends on sizes that are fixed: branches, and the scales of images.

Layers that work on images of any size ask for the size at run time, and choose between cropping, padding and
resizing with it. In a model with a fixed input there is nothing to choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_trt.trace.graph_view import node_of
from keras_trt.trace.weights import make_constant

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef

_BRANCHES = ("If", "StatelessIf")
_GAIN = (*_BRANCHES, "ScaleAndTranslate")


def fill_in_sizes(graph_def: GraphDef) -> bool:
    """Replaces sizes that are read off a tensor's shape by their values, in place.

    Only in graphs that gain from it. TensorFlow's own shape inference says which sizes are fixed.

    Returns:
        Whether there was one.
    """
    if not any(node.op in _GAIN for node in graph_def.node):
        return False
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        sizes = {}
        for node in graph_def.node:
            if node.op == "StridedSlice":
                sizes[node.name] = _size(tf, graph.get_operation_by_name(node.name))
    known = {name: size for name, size in sizes.items() if size is not None}
    for node in graph_def.node:
        if node.name in known:
            make_constant(node, known[node.name])
    return bool(known)


def choose_branches(graph_def: GraphDef, weights: Mapping[str, np.ndarray]) -> bool:
    """Replaces branches with a constant condition by a call of the one that is taken, in place.

    Args:
        graph_def: A graph with its constants folded.
        weights: The values of placeholders that are constants.

    Returns:
        Whether there was one.
    """
    import tensorflow as tf

    constants = {node.name: node for node in graph_def.node if node.op == "Const"}
    chosen = False
    for node in graph_def.node:
        condition = node_of(node.input[0]) if node.op in _BRANCHES else ""
        if condition in weights:
            taken = bool(np.all(weights[condition]))
        elif condition in constants:
            taken = bool(np.all(tf.make_ndarray(constants[condition].attr["value"].tensor)))
        else:
            continue
        branch = node.attr["then_branch" if taken else "else_branch"].func
        node.attr["f"].func.CopyFrom(branch)
        node.op = "PartitionedCall" if node.op == "StatelessIf" else "StatefulPartitionedCall"
        del node.input[0]
        for key in set(node.attr) - {"f", "Tin", "Tout"}:
            del node.attr[key]
        chosen = True
    return chosen


def _size(tf: ModuleType, operation: Any) -> np.ndarray | None:
    """What a slice of a shape holds, if it is fixed."""
    source, *bounds = operation.inputs
    if source.op.type != "Shape" or source.op.inputs[0].shape.rank is None:
        return None
    begin, end, stride = (tf.get_static_value(bound) for bound in bounds)
    masks = {key: operation.get_attr(f"{key}_mask") for key in ("begin", "end", "ellipsis", "new_axis")}
    if any(x is None or len(x) != 1 for x in (begin, end, stride)) or masks["ellipsis"] or masks["new_axis"]:
        return None
    sizes = np.array([-1 if d is None else d for d in source.op.inputs[0].shape])
    if operation.get_attr("shrink_axis_mask"):
        chosen = sizes[begin[0]]
    else:
        first, last = (None if masks[k] else x[0] for k, x in (("begin", begin), ("end", end)))
        chosen = sizes[first : last : stride[0]]
    dtype = operation.outputs[0].dtype.as_numpy_dtype
    return None if np.any(chosen < 0) else np.asarray(chosen, dtype)
