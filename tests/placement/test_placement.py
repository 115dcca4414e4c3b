"""The placement rules on the block patterns of real networks, as tables."""

from __future__ import annotations

import pytest

from keras_trt._keras.graph import LayerGraph, Node
from keras_trt.placement.decision import Decision
from keras_trt.placement.placement import only_where_read, place, place_alone

WEIGHTED = {"Conv2D", "DepthwiseConv2D", "Dense", "Conv2DTranspose", "SeparableConv2D", "EinsumDense"}
ACTIVATIONS = {"relu", "silu", "swish", "sigmoid", "gelu"}


def graph(*rows, outputs=()):
    """Rows of `name kind[/option] inputs...`; `x` is the model's input."""
    shapes: dict[str, tuple] = {}
    nodes = []
    for row in rows:
        name, kind, *inputs = row.split()
        kind, _, option = kind.partition("/")
        shapes[name] = (None, 1, 1, 8) if option == "1x1" else (None, 8, 8, 8)
        nodes.append(
            Node(
                key=name,
                path=name,
                kind=kind,
                inputs=tuple(i if i == "x" else f"{i}:0" for i in inputs),
                outputs=(f"{name}:0",),
                input_shapes=tuple(shapes.get(i, (None, 8, 8, 8)) for i in inputs),
                kernels=("kernel",) if kind in WEIGHTED else (),
                linear=option not in {"act", *ACTIVATIONS},
                activation=option if option in ACTIVATIONS else "",
            )
        )
    return LayerGraph(tuple(nodes), ("x",), tuple(f"{o}:0" for o in outputs) or (f"{nodes[-1].key}:0",))


def inputs_of(*rows, outputs=()):
    return {path: d.inputs for path, d in place(graph(*rows, outputs=outputs)).items() if d.inputs}


PATTERNS = {
    "plain": (
        ["c1 Conv2D x", "b1 BatchNormalization c1", "r1 ReLU b1", "c2 Conv2D r1", "d Dense c2"],
        {"c1": (0,), "c2": (0,), "d": (0,)},
    ),
    "residual with the shortcut first": (
        ["r0 ReLU x", "c1 Conv2D r0", "b1 BatchNormalization c1", "a Add r0 b1", "r ReLU a"],
        {"c1": (0,), "a": (0,)},
    ),
    "residual with the shortcut last": (
        ["r0 ReLU x", "c1 Conv2D r0", "b1 BatchNormalization c1", "a Add b1 r0", "r ReLU a"],
        {"c1": (0,), "a": (1,)},
    ),
    "residual with a projection leaves the deeper branch bare": (
        [
            "p Conv2D x", "pb BatchNormalization p", "c1 Conv2D x", "r1 ReLU c1", "c2 Conv2D r1",
            "b2 BatchNormalization c2", "a Add pb b2",
        ],
        {"p": (0,), "c1": (0,), "c2": (0,), "a": (0,)},
    ),
    "residual with pooling in the shortcut": (
        ["r0 ReLU x", "m MaxPooling2D r0", "c1 Conv2D r0", "a Add m c1"],
        {"c1": (0,), "a": (0,)},
    ),
    "residual with batch normalisation in the shortcut": (
        ["r0 ReLU x", "s BatchNormalization r0", "c1 Conv2D r0", "a Add s c1"],
        {"c1": (0,), "a": (0,)},
    ),
    "a branch that someone else reads is not fused": (
        ["c1 Conv2D x", "c2 Conv2D c1", "a Add c1 c2"],
        {"c1": (0,), "c2": (0,), "a": (0,)},
    ),
    "a convolution with an activation of its own does not fuse with the addition": (
        ["c1 Conv2D/act x", "a Add x c1"],
        {"c1": (0,)},
    ),
    "a convolution with gelu does not fuse with the addition": (
        ["c1 Conv2D/gelu x", "a Add x c1"],
        {"c1": (0,)},
    ),
    "a convolution with its own swish fuses with the addition": (
        ["c1 Conv2D/silu x", "a Add x c1"],
        {"c1": (0,), "a": (0,)},
    ),
    "a branch through batch normalisation and ReLU fuses with the addition": (
        ["c1 Conv2D x", "b BatchNormalization c1", "r ReLU/relu b", "a Add r x"],
        {"c1": (0,), "a": (1,)},
    ),
    "a branch through swish fuses with the addition": (
        ["c1 Conv2D x", "b BatchNormalization c1", "s Activation/swish b", "a Add x s"],
        {"c1": (0,), "a": (0,)},
    ),
    "a branch through swish as a product fuses with the addition": (
        ["c1 Conv2D x", "g Activation/sigmoid c1", "m Multiply g c1", "a Add x m"],
        {"c1": (0,), "a": (0,)},
    ),
    "a branch through swish as an operation's product fuses with the addition": (
        ["c1 Conv2D x", "g ops.Sigmoid c1", "m ops.Multiply c1 g", "a Add x m"],
        {"c1": (0,), "a": (0,)},
    ),
    "a product with the sigmoid of another is no swish": (
        ["c1 Conv2D x", "c2 Conv2D x", "g Activation/sigmoid c2", "m Multiply c1 g", "a Add x m"],
        {"c1": (0,), "c2": (0,)},
    ),
    "a swish that somebody else reads does not fuse": (
        ["c1 Conv2D x", "s Activation/swish c1", "a Add x s", "d Dense s", "f Add a d"],
        {"c1": (0,), "d": (0,)},
    ),
    "a swish of what somebody else reads does not fuse": (
        ["c1 Conv2D x", "s Activation/swish c1", "a Add c1 s"],
        {"c1": (0,)},
    ),
    "two activations do not fuse": (
        ["c1 Conv2D/relu x", "s Activation/swish c1", "a Add x s"],
        {"c1": (0,)},
    ),
    "ConvNeXt: the normalisation behind a convolution reads int8, others float": (
        [
            "p Conv2D x", "n0 LayerNormalization p", "dw DepthwiseConv2D n0", "n1 LayerNormalization dw",
            "d1 Dense/gelu n1", "d2 Dense d1", "a Add n0 d2", "n2 LayerNormalization a", "h Dense n2",
        ],
        {"p": (0,), "n0": (0,), "dw": (0,), "n1": (0,), "d1": (0,), "d2": (0,), "h": (0,)},
    ),
    "a normalisation behind a convolution that somebody else reads is float": (
        ["c Conv2D x", "n LayerNormalization c", "a Add c n"],
        {"c": (0,)},
    ),
    "pre-activation": (
        ["b0 BatchNormalization x", "r0 ReLU b0", "c1 Conv2D r0", "a Add x c1", "b1 BatchNormalization a"],
        {"c1": (0,), "a": (0,)},
    ),
    "squeeze-excite": (
        [
            "c Conv2D x", "s Activation/act c", "g GlobalAveragePooling2D s", "rs Reshape/1x1 g",
            "e1 Conv2D/1x1 rs", "e2 Conv2D/1x1 e1", "m Multiply s e2", "c2 Conv2D m",
        ],
        {"c": (0,), "g": (0,), "e1": (0,), "e2": (0,), "m": (0, 1), "c2": (0,)},
    ),
    "swish written as a product stays float": (
        ["c Conv2D x", "s Activation/act c", "m Multiply c s", "c2 Conv2D m"],
        {"c": (0,), "c2": (0,)},
    ),
    "inception: the concatenation's readers quantise": (
        [
            "c1 Conv2D x", "c2 Conv2D x", "p AveragePooling2D x", "c3 Conv2D p", "m MaxPooling2D x",
            "k Concatenate c1 c2 c3 m", "c4 Conv2D k",
        ],
        {"c1": (0,), "c2": (0,), "p": (0,), "c3": (0,), "c4": (0,)},
    ),
    "dense block": (
        [
            "b1 BatchNormalization x", "r1 ReLU b1", "c1 Conv2D r1", "k Concatenate x c1",
            "b2 BatchNormalization k", "r2 ReLU b2", "c2 Conv2D r2",
        ],
        {"c1": (0,), "c2": (0,)},
    ),
    "inverted bottleneck": (
        [
            "e Conv2D x", "eb BatchNormalization e", "er ReLU eb", "z ZeroPadding2D er",
            "d DepthwiseConv2D z",
            "db BatchNormalization d", "dr ReLU db", "p Conv2D dr", "pb BatchNormalization p",
            "dp Dropout pb", "a Add x dp",
        ],
        {"e": (0,), "d": (0,), "p": (0,), "a": (0,)},
    ),
    "u-net skip": (
        [
            "c1 Conv2D x", "m MaxPooling2D c1", "c2 Conv2D m", "u Conv2DTranspose c2",
            "k Concatenate c1 u", "c3 Conv2D k",
        ],
        {"c1": (0,), "c2": (0,), "u": (0,), "c3": (0,)},
    ),
    "batch normalisation behind a concatenation": (
        ["c1 Conv2D x", "k Concatenate x c1", "n BatchNormalization k", "f Flatten n", "d Dense f"],
        {"c1": (0,), "d": (0,)},
    ),
    "the maximum of two convolutions": (
        ["c1 Conv2D x", "c2 Conv2D x", "m Maximum c1 c2", "n BatchNormalization m", "c3 Conv2D n"],
        {"c1": (0,), "c2": (0,), "c3": (0,)},
    ),
    "pooling before a layer in int8": (
        ["c Conv2D x", "p AveragePooling2D c", "f Flatten p", "dr Dropout f", "d Dense dr"],
        {"c": (0,), "p": (0,), "d": (0,)},
    ),
    "pooling of operations before a layer in int8": (
        ["c Conv2D x", "p AveragePooling2D c", "r ops.nn.relu p", "s ops.ExpandDims r", "d Dense s"],
        {"c": (0,), "p": (0,), "d": (0,)},
    ),
    "pooling before a chain of pooling": (
        ["c Conv2D x", "p AveragePooling2D c", "q AveragePooling2D p", "m MaxPooling2D q", "c2 Conv2D m"],
        {"c": (0,), "p": (0,), "q": (0,), "c2": (0,)},
    ),
    "pooling at the end": (
        ["c Conv2D x", "p AveragePooling2D c", "q GlobalAveragePooling2D p", "s Activation q"],
        {"c": (0,)},
    ),
    "pooling before a normalisation": (
        ["c Conv2D x", "p AveragePooling2D c", "n LayerNormalization p", "d Dense n"],
        {"c": (0,), "d": (0,)},
    ),
    "pooling before a lone batch normalisation": (
        ["c Conv2D x", "p AveragePooling2D c", "n BatchNormalization p", "d Dense n"],
        {"c": (0,), "d": (0,)},
    ),
    "pooling that one reader of two reads in int8": (
        ["c Conv2D x", "p AveragePooling2D c", "s Softmax p", "d Dense p", "k Concatenate s d"],
        {"c": (0,), "p": (0,), "d": (0,)},
    ),
    "pooling before an addition in int8": (
        ["p AveragePooling2D x", "c Conv2D x", "a Add p c", "d Dense a"],
        {"p": (0,), "c": (0,), "a": (0,), "d": (0,)},
    ),
    "pooling before attention": (
        ["c Conv2D x", "p AveragePooling2D c", "m MultiHeadAttention p p"],
        {"c": (0,), "p": (0,)},
    ),
    "pooling before a layer over time": (
        ["c Conv2D x", "p AveragePooling2D c", "t TimeDistributed p"],
        {"c": (0,), "p": (0,)},
    ),
    "a gate whose product nothing reads in int8": (
        ["c Conv2D x", "g GlobalAveragePooling2D/1x1 c", "e Conv2D/1x1 g", "m Multiply c e", "n Softmax m"],
        {"c": (0,), "g": (0,), "e": (0,)},
    ),
    "transformer block: residual stream, normalisation and softmax stay float": (
        [
            "n LayerNormalization x", "q EinsumDense n", "s Softmax q", "o EinsumDense s", "a Add x o",
            "n2 LayerNormalization a", "f1 Dense/act n2", "f2 Dense f1", "a2 Add a f2",
        ],
        {"q": (0,), "o": (0,), "f1": (0,), "f2": (0,)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_quantised_inputs_of(name):
    rows, expected = PATTERNS[name]
    assert inputs_of(*rows) == expected


def without(decisions, *paths):
    """The decisions as they are when layers are skipped."""
    return {p: Decision(p, d.kind, reason="skipped") if p in paths else d for p, d in decisions.items()}


SKIPPED = {
    "the convolution before a normalisation": (
        ["c Conv2D x", "n LayerNormalization c", "d Dense n"],
        "c",
        {"d": (0,)},
    ),
    "the convolution whose swish an addition reads": (
        ["c1 Conv2D x", "s Activation/swish c1", "a Add x s", "c2 Conv2D a"],
        "c1",
        {"c2": (0,)},
    ),
    "the convolution that an addition fuses into": (
        ["c1 Conv2D x", "a Add x c1", "c2 Conv2D a"],
        "c1",
        {"c2": (0,)},
    ),
    "one of two convolutions that an addition could fuse into": (
        ["c1 Conv2D x", "c2 Conv2D x", "c3 Conv2D c2", "a Add c1 c3"],
        "c3",
        {"c1": (0,), "c2": (0,), "a": (1,)},
    ),
    "the reader of a pooling": (
        ["c Conv2D x", "p AveragePooling2D c", "q AveragePooling2D p", "d Dense q"],
        "d",
        {"c": (0,)},
    ),
    "the reader of a product": (
        ["c Conv2D x", "e Conv2D/1x1 x", "m Multiply c e", "c2 Conv2D m"],
        "c2",
        {"c": (0,), "e": (0,)},
    ),
}


@pytest.mark.parametrize("skipped", SKIPPED)
def test_skipping_takes_the_quantisers_with_it_that_served(skipped):
    rows, path, expected = SKIPPED[skipped]
    network = graph(*rows)
    found = only_where_read(network, without(place(network), path))
    assert {p: d.inputs for p, d in found.items() if d.inputs} == expected
    assert all(d.reason for d in found.values())


def test_a_layer_that_is_quantised_already_is_a_reader():
    network = graph("c Conv2D x", "p AveragePooling2D c", "d Dense p")
    found = without(place(network), "d")
    assert not only_where_read(network, found)["p"].inputs
    assert only_where_read(network, found, {"d": (0,)})["p"].inputs == (0,)


def test_every_decision_carries_a_reason():
    for rows, _ in PATTERNS.values():
        assert all(d.reason for d in place(graph(*rows)).values())


def test_a_branch_that_is_a_model_output_is_not_left_bare():
    rows = ["c1 Conv2D x", "c2 Conv2D x", "a Add c1 c2"]
    assert inputs_of(*rows, outputs=("c2", "a"))["a"] == (1,)
    assert inputs_of(*rows, outputs=("c1", "a"))["a"] == (0,)


def test_a_shared_layer_gets_the_union_of_its_calls():
    first = Node("a", "a", "Add", ("x", "c:0"), ("a:0",), ((None, 8), (None, 8)))
    conv = Node("c", "c", "Conv2D", ("x",), ("c:0",), ((None, 8),), ("kernel",))
    conv2 = Node("c2", "c2", "Conv2D", ("a:0",), ("c2:0",), ((None, 8),), ("kernel",))
    second = Node("a#2", "a", "Add", ("c2:0", "x"), ("a#2:0",), ((None, 8), (None, 8)))
    placed = place(LayerGraph((conv, first, conv2, second), ("x",), ("a#2:0",)))
    assert placed["a"].inputs == (0, 1)


@pytest.mark.parametrize("kind", ["SoftCapping", "LayerScale", "Lambda", "ops.Add"])
def test_unknown_layers_stay_float_with_a_reason(kind):
    decision = place(graph(f"u {kind} x"))["u"]
    assert not decision.quantized
    assert decision.reason == "no int8 rule for this kind of layer"


def test_inside_a_custom_layer_only_weighted_layers_and_pooling_are_quantised():
    assert place_alone("l/d", "Dense", ("kernel",)).inputs == (0,)
    assert place_alone("l/p", "GlobalAveragePooling2D", ()).inputs == (0,)
    for kind in ("Add", "BatchNormalization", "Multiply"):
        decision = place_alone("l/a", kind, ())
        assert not decision.quantized
        assert "cannot be seen" in decision.reason
