from __future__ import annotations

import pytest
import tensorflow as tf

from keras_trt.trace.graph_view import GraphView, index_of, is_control, node_of


@pytest.fixture
def view():
    graph_def = tf.compat.v1.GraphDef()
    for name, inputs in {
        "x": [],
        "order": [],
        "split": ["x"],
        "sum": ["split", "split:1", "^order"],
        "other": ["x"],
    }.items():
        graph_def.node.add(name=name, op=name.title(), input=inputs)
    return GraphView(graph_def)


@pytest.mark.parametrize("tensor", ["split", "split:1", "^split"])
def test_an_input_names_a_node(view, tensor):
    assert node_of(tensor) == "split"
    assert view.maker(tensor).op == "Split"
    assert is_control(tensor) == (tensor == "^split")
    assert index_of(tensor) == (tensor == "split:1")


def test_readers_are_those_of_any_output(view):
    assert [node.name for node in view.readers["split"]] == ["sum", "sum"]
    assert [node.name for node in view.readers["x"]] == ["split", "other"]
    assert view.readers["sum"] == []


def test_what_lies_above_a_tensor(view):
    assert view.above(["sum:0"]) == {"sum", "split", "x"}
    assert view.above(["sum"], control=True) == {"sum", "split", "x", "order"}
    assert view.above(["sum", "other"], stop=lambda node: node.op == "Split") == {"sum", "other", "x"}
