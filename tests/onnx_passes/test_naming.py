"""Nodes are named after the layers whose scopes they were traced in, and read back exactly."""

from __future__ import annotations

from keras_trt.onnx_passes._graph import HOLDERS
from keras_trt.onnx_passes.naming import NameNodesPass, layer_of
from tests.onnx_tools import GraphBuilder, floats


def test_the_longest_layer_path_wins():
    assert layer_of("block/conv/Conv/weight/DQ", ["block", "block/conv"]) == "block/conv"
    assert layer_of("blocker/Conv", ["block"]) is None


def test_nodes_take_the_name_of_their_layer_or_of_a_neighbour():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    q = b("QuantizeLinear", "x", b.const(0.1), name="QuantLinearNode__1")
    dq = b("DequantizeLinear", q, b.const(0.1), name="conv.ktrt0/input_quantizer/DQ")
    y = b("Conv", dq, b.const(floats(4, 3, 1, 1), name="conv.ktrt0/kernel"), name="Conv__7")
    model = b.finish(b("Relu", y, name="Relu__8"))
    NameNodesPass(["conv"])(model)
    assert [n.name for n in model.graph] == [
        "conv/QuantizeLinear",
        "conv/DequantizeLinear",
        "conv/Conv",
        "conv/Relu",
    ]


def test_no_node_is_named_like_a_layer():
    b = GraphBuilder(x=("batch", 4))
    y = b("Relu", b("MatMul", "x", b.const(floats(4, 4)), name="a.ktrt0/MatMul"), name="a/Relu.ktrt2/Relu")
    model = b.finish(b("Neg", b("MatMul", y, b.const(floats(4, 4)), name="MatMul__1"), name="b.ktrt1/Neg"))
    layers = ["a", "b", "a/Relu", "a/MatMul/inner", "MatMul"]
    NameNodesPass(layers)(model)
    names = [node.name for node in model.graph]
    assert names == ["a/MatMul_1", "a/Relu/Relu", "a/Relu/MatMul", "b/Neg"]
    assert [layer_of(name, layers) for name in names] == ["a", "a/Relu", "a/Relu", "b"]


def test_a_product_belongs_to_the_layer_that_holds_its_kernel():
    b = GraphBuilder(x=("batch", 4))
    model = b.finish(b("MatMul", "x", b.const(floats(4, 4), name="kernel"), name="block.ktrt0/MatMul"))
    layers = ["block", "block/dense", "block/other"]
    kernel = model.graph.initializers["kernel"]
    for holders, name in (
        (("block/dense",), "block/dense/MatMul"),
        (("block", "block/dense"), "block/MatMul"),
        ((), "block/MatMul"),
    ):
        kernel.meta[HOLDERS] = holders
        node = next(iter(model.graph))
        node.name = "block.ktrt0/MatMul"
        NameNodesPass(layers)(model)
        assert node.name == name
