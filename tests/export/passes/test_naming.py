"""Scopes of TensorFlow are read back as Keras layer paths, whatever suffixes it added."""

from __future__ import annotations

from keras_trt.export.passes.naming import NameNodesPass, layer_of, scope_resolver
from tests.export.onnx_tools import GraphBuilder, floats


def test_a_scope_entered_again_is_the_same_layer():
    layers = ["backbone", "backbone/conv1", "head"]
    scopes = ["functional_1/backbone_1/conv1_1/convolution", "functional_1/head_1/MatMul"]
    resolve = scope_resolver(scopes, layers)
    assert [resolve(s) for s in scopes] == ["backbone/conv1", "head"]


def test_names_that_end_in_numbers_are_told_from_suffixes():
    layers = ["relu", "relu_1"]
    keras3 = ["net_1/relu_1/Relu", "net_1/relu_1_2/Relu"]
    resolve = scope_resolver(keras3, layers)
    assert [resolve(s) for s in keras3] == ["relu", "relu_1"]
    legacy = ["net/relu/Relu", "net/relu_1/Relu"]
    resolve = scope_resolver(legacy, layers)
    assert [resolve(s) for s in legacy] == ["relu", "relu_1"]


def test_a_scope_of_no_layer_has_none():
    assert scope_resolver(["net/add"], ["conv"])("net/add") is None


def test_the_longest_layer_path_wins():
    assert layer_of("block/conv/Conv/weight/DQ", ["block", "block/conv"]) == "block/conv"
    assert layer_of("blocker/Conv", ["block"]) is None


def test_nodes_take_the_name_of_their_layer_or_of_a_neighbour():
    b = GraphBuilder(x=("batch", 3, 8, 8))
    q = b("QuantizeLinear", "x", b.const(0.1), name="QuantLinearNode__1")
    dq = b("DequantizeLinear", q, b.const(0.1), name="net/conv/input_quantizer/DQ")
    y = b("Conv", dq, b.const(floats(4, 3, 1, 1), name="net/conv/kernel"), name="Conv__7")
    model = b.finish(b("Relu", y, name="Relu__8"))
    NameNodesPass(["conv"])(model)
    assert [n.name for n in model.graph] == [
        "conv/QuantizeLinear",
        "conv/DequantizeLinear",
        "conv/Conv",
        "conv/Relu",
    ]
