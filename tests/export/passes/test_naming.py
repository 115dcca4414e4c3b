"""TensorFlow's scopes lead back to Keras's layers."""

from __future__ import annotations

import pytest

from keras_trt.export.passes.naming import layer_of, scope_resolver


@pytest.mark.parametrize(
    ("layers", "scope", "layer"),
    [
        (["conv"], "functional_1/conv_1/Conv2D", "conv"),
        (["conv", "conv_1"], "model/conv_1/Conv2D", "conv_1"),
        (["backbone", "backbone/conv"], "model/backbone_1/conv_1/mul", "backbone/conv"),
        (["backbone", "backbone/conv"], "model/backbone_1/mul", "backbone"),
        (["conv"], "model/other/mul", None),
        (["block/depthwise", "block/depthwise/bn"], "model/block/depthwise/mul:0", "block/depthwise"),
        (["block/depthwise", "block/depthwise/bn"], "model/block/depthwise/bn/mul", "block/depthwise/bn"),
        (["block_1/conv", "block/conv"], "model/block_1/conv/block_1/conv_quantizer/Q", "block_1/conv"),
        (["block/conv"], "model/block/mul", None),
        (["block/conv", "dense"], "model/block/dense/mul", "dense"),
        (["net", "net/block/conv"], "net/block/conv/mul", "net/block/conv"),
    ],
)
def test_a_scope_belongs_to_the_innermost_layer_that_it_passes(layers, scope, layer):
    assert scope_resolver([scope], layers)(scope) == layer


def test_numbers_that_tensorflow_adds_are_told_from_those_of_layers():
    layers = ["dense", "dense_1"]
    assert [scope_resolver(["m/dense/x", "m/dense_1/x"], layers)(s) for s in ("m/dense_1/x",)] == ["dense_1"]
    added = ["m/dense_1/x", "m/dense_1_1/x"]
    assert [scope_resolver(added, layers)(s) for s in added] == ["dense", "dense_1"]


def test_a_nodes_name_begins_with_its_layers_path():
    assert layer_of("block/conv/Conv", ["block/conv", "block"]) == "block/conv"
    assert layer_of("block/add/Add", ["block/conv", "block"]) == "block"
    assert layer_of("Add", ["block"]) is None
