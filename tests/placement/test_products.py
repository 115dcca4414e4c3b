"""What is read off layers of either Keras for the rules by shape."""

from __future__ import annotations

import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.graph import kind_of, layer_graph
from keras_trt.placement.products import Attention, Convolution, Matrix, products_of

LAYERS = {
    "Dense": (lambda L: L.Dense(10), (6, 4), [Matrix(None, 4, 10)]),
    "EinsumDense": (lambda L: L.EinsumDense("abc,cde->abde", (None, 2, 8)), (6, 4), [Matrix(None, 4, 16)]),
    "Conv1D": (lambda L: L.Conv1D(5, 3), (8, 4), [Convolution(4, 5, (3,), first=True)]),
    "Conv2D": (lambda L: L.Conv2D(5, (3, 1)), (8, 8, 4), [Convolution(4, 5, (3, 1), first=True)]),
    "Conv2D in groups": (
        lambda L: L.Conv2D(6, 3, groups=2),
        (8, 8, 4),
        [Convolution(2, 6, (3, 3), groups=2, first=True)],
    ),
    "Conv2DTranspose": (
        lambda L: L.Conv2DTranspose(5, 2),
        (8, 8, 4),
        [Convolution(4, 5, (2, 2), first=True)],
    ),
    "DepthwiseConv2D": (
        lambda L: L.DepthwiseConv2D(3, depth_multiplier=2),
        (8, 8, 4),
        [Convolution(1, 8, (3, 3), groups=4, first=True)],
    ),
    "SeparableConv2D": (
        lambda L: L.SeparableConv2D(6, 3),
        (8, 8, 4),
        [Convolution(1, 4, (3, 3), groups=4, first=True), Convolution(4, 6, (1, 1))],
    ),
    "Embedding": (lambda L: L.Embedding(9, 5), (8,), []),
    "MaxPooling2D": (lambda L: L.MaxPooling2D(), (8, 8, 4), []),
}


@pytest.mark.parametrize("name", LAYERS)
def test_products_of(k, name):
    make, shape, expected = LAYERS[name]
    model = k.Sequential([k.Input(shape), make(k.layers)])
    assert _of(model, model.layers[-1]) == tuple(expected)


def test_attention_has_its_tokens_its_head_and_two_matrices(k):
    x, memory = k.Input((5, 16)), k.Input((7, 16))
    layer = k.layers.MultiHeadAttention(2, 8, value_dim=12)
    model = k.Model([x, memory], layer(x, memory))
    assert _of(model, layer) == (Attention(7, 8), Matrix(5, 8, 7), Matrix(5, 7, 12))


def test_rows_are_those_of_the_largest_call_and_open_with_the_batch(k):
    dense = k.layers.Dense(4)
    one, three = k.Input((3,), batch_size=1), k.Input((3, 3), batch_size=1)
    assert _of(k.Model([one], dense(one)), dense) == (Matrix(1, 3, 4),)
    assert _of(k.Model([one, three], [dense(one), dense(three)]), dense) == (Matrix(3, 3, 4),)
    several = k.Input((3,))
    assert _of(k.Model([one, several], [dense(one), dense(several)]), dense) == (Matrix(None, 3, 4),)


def test_the_first_convolution_may_stand_behind_layers_without_weights(k):
    x = k.Input((8, 8, 3))
    first, second, other = (k.layers.Conv2D(8, 3) for _ in range(3))
    y = first(k.layers.ZeroPadding2D(1)(k.layers.Rescaling(1 / 255)(x)))
    y = k.layers.Add()([second(y), other(x)])
    model = k.Model(x, y)
    assert [_of(model, layer)[0].first for layer in (first, second, other)] == [True, False, True]


def test_a_custom_layers_matrix_counts_and_its_convolution_does_not(k):
    from keras_trt import register_layer

    class Project(k.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], 5), name="w")
            self.filters = self.add_weight(shape=(3, 3, 2, 5), name="filters")

        def call(self, x):
            return x @ self.w

    register_layer(Project, ["w", "filters"])
    model = k.Sequential([k.Input((6, 4)), Project()])
    assert _of(model, model.layers[-1]) == (Matrix(None, 4, 5),)


def _of(model, layer):
    flavor = flavor_of(model)
    path = next(path for path, each in flavor.walk(model) if each is layer)
    return products_of(layer, kind_of(flavor, layer), path, layer_graph(flavor, model))
