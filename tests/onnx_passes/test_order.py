"""The order and the names inside a graph depend on its structure alone."""

from __future__ import annotations

import onnx_ir as ir

from keras_trt.onnx_passes.order import OrderNodesPass
from keras_trt.onnx_passes.tensor_names import NameTensorsPass
from tests.onnx_tools import GraphBuilder, floats, ops, run


def branches(swapped):
    """Two branches, written in either order, and a node that nothing needs."""
    b = GraphBuilder(x=("batch", 4))
    make = [lambda: b("Relu", "x", name="r"), lambda: b("Sigmoid", "x", name="s")]
    made = [m() for m in (reversed(make) if swapped else make)]
    relu, sigmoid = reversed(made) if swapped else made
    b("Tanh", "x", name="unused")
    return b.finish(b("MatMul", b("Sub", relu, sigmoid, name="d"), floats(4, 3), name="m"))


def test_branches_come_in_the_order_their_user_reads_them():
    for swapped in (False, True):
        model = branches(swapped)
        OrderNodesPass()(model)
        assert ops(model) == ["Relu", "Sigmoid", "Sub", "MatMul"]


def test_the_bytes_do_not_depend_on_how_the_graph_was_written():
    found = []
    for swapped in (False, True):
        model = branches(swapped)
        model.graph.outputs[0].name = "y"
        OrderNodesPass()(model)
        NameTensorsPass()(model)
        found.append(ir.to_proto(model).SerializeToString(deterministic=True))
    assert found[0] == found[1]


def test_tensors_are_named_after_nodes_and_constants_after_their_role():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    y = b("Conv", b("Relu", "x", name="a/Relu"), floats(4, 3, 1, 1), floats(4), name="b/Conv")
    model = b.finish(y)
    y.name = "out"
    before = run(model, x=floats(2, 3, 8, 8))["out"]
    NameTensorsPass()(model)
    assert [v.name for v in model.graph[1].inputs] == ["a/Relu", "b/Conv/weight", "b/Conv/bias"]
    assert (run(model, x=floats(2, 3, 8, 8))["out"] == before).all()


def test_nodes_that_share_a_name_are_told_apart():
    b = GraphBuilder(x=("batch", 4))
    model = b.finish(b("Relu", b("Relu", "x", name="r"), name="other"))
    model.graph[1].name = "r"
    NameTensorsPass()(model)
    assert [n.name for n in model.graph] == ["r", "r_1"]
