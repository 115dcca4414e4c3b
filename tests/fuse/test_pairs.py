"""Which BatchNormalization folds, as tables on small layer graphs."""

import pytest

from keras_trt._keras.graph import LayerGraph, Node
from keras_trt.fuse.pairs import Finding, find_pairs


def node(path, kind, *inputs, key=None, **options):
    key = key or path
    return Node(key=key, path=path, kind=kind, inputs=inputs, outputs=(f"{key}:0",), **options)


def found(*nodes, outputs=("bn:0",)):
    return find_pairs(LayerGraph(tuple(nodes), ("input:0",), outputs))


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "SeparableConv1D", "Conv3DTranspose", "Dense"])
def test_it_folds_into_the_layer_before_it(kind):
    assert found(node("c", kind, "input:0"), node("bn", "BatchNormalization", "c:0")) == [Finding("bn", "c")]


@pytest.mark.parametrize(
    "nodes,reason",
    [
        ([node("bn", "BatchNormalization", "input:0")], "it follows a model input"),
        (
            [node("a", "Add", "input:0", "input:0"), node("bn", "BatchNormalization", "a:0")],
            "no weights to fold into in a (Add), before it",
        ),
        (
            [node("c", "Conv2D", "input:0", linear=False), node("bn", "BatchNormalization", "c:0")],
            "c has an activation of its own before it",
        ),
        (
            [
                node("c", "Conv2D", "input:0"),
                node("bn", "BatchNormalization", "c:0"),
                node("r", "ReLU", "c:0"),
            ],
            "the output of c is used elsewhere too",
        ),
        (
            [
                node("c", "Conv2D", "input:0"),
                node("d", "Conv2D", "input:0"),
                node("bn", "BatchNormalization", "c:0"),
                node("bn", "BatchNormalization", "d:0", key="bn#2"),
            ],
            "it follows several layers",
        ),
    ],
)
def test_it_stays_for_a_reason(nodes, reason):
    assert found(*nodes) == [Finding("bn", reason=reason)]


def test_a_model_output_counts_as_a_use():
    nodes = node("c", "Conv2D", "input:0"), node("bn", "BatchNormalization", "c:0")
    assert found(*nodes, outputs=("bn:0", "c:0"))[0].reason == "the output of c is used elsewhere too"


def test_a_pair_that_is_called_twice_together_folds():
    nodes = [
        node("c", "Conv2D", "input:0"),
        node("bn", "BatchNormalization", "c:0"),
        node("c", "Conv2D", "bn:0", key="c#2"),
        node("bn", "BatchNormalization", "c#2:0", key="bn#2"),
    ]
    assert found(*nodes, outputs=("bn#2:0",)) == [Finding("bn", "c")]


def test_a_layer_that_is_called_once_more_without_it_does_not_fold():
    nodes = [
        node("c", "Conv2D", "input:0"),
        node("bn", "BatchNormalization", "c:0"),
        node("c", "Conv2D", "bn:0", key="c#2"),
    ]
    assert found(*nodes, outputs=("c#2:0",))[0].into is None
