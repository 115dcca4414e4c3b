"""Lets random numbers be drawn anew in every call, as the counters of Keras 3 would have them drawn.

Keras 3 counts its calls in a variable and makes the numbers of that count. An engine keeps no count, but has
operators that draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_trt.trace.graph_view import GraphView, node_of
from keras_trt.trace.rewrites.state import UPDATES

if TYPE_CHECKING:
    from tensorflow.compat.v1 import GraphDef

_DRAWING = {"StatelessRandomNormalV2": "RandomStandardNormal", "StatelessRandomUniformV2": "RandomUniform"}


def draw_anew(graph_def: GraphDef) -> None:
    """Puts operators that draw in the place of those whose seed changes from call to call, in place.

    Numbers of a seed that stays are the same in every call, and are left as they are.

    Args:
        graph_def: A graph with constants in the place of variables, and their updates.
    """
    counters = {node_of(node.input[0]) for node in graph_def.node if node.op in UPDATES}
    drawn = [node for node in graph_def.node if node.op in _DRAWING] if counters else []
    graph = GraphView(graph_def)
    for node in drawn:
        if counters & graph.above(node.input[1:3]):
            node.op = _DRAWING[node.op]
            del node.input[1:]
            node.attr["T"].CopyFrom(node.attr["Tshape"])
            del node.attr["Tshape"]
