"""Every node of a traced graph says which layer made it, whatever its name and whoever called it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from keras_trt.trace.scopes import layer_of_scope
from keras_trt.trace.trace import trace

PRODUCTS = ("MatMul", "BatchMatMulV2", "Conv2D", "Einsum")


def products(model):
    """How many products each layer makes in the traced graph."""
    found = defaultdict(int)
    traced = trace(model, recurrent=())  # as one operator they have no products
    for node in traced.graph_def.node:
        if node.op in PRODUCTS:
            found[layer_of_scope(node.name, traced.layers)] += 1
    return dict(found)


def pair_layer(k, call, first="d", second="d_1"):
    """A layer with two dense layers inside and the given call."""

    class Pair(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.a, self.b = k.layers.Dense(4, name=first), k.layers.Dense(4, name=second)

        def build(self, input_shape):
            self.a.build(input_shape)
            self.b.build(input_shape)
            self.built = True

    Pair.call = call
    return Pair


def model_of(k, layer, *shape):
    x = k.Input(shape or (4,))
    return k.Model(x, layer(x))


def test_the_last_layer_in_a_name_is_the_innermost():
    layers = ["a", "a/b", "c"]
    assert layer_of_scope("a.ktrt0/x/a/b.ktrt1/MatMul__12:0", layers) == "a/b"
    assert layer_of_scope("c.ktrt2/StatefulPartitionedCall/Add", layers) == "c"
    assert layer_of_scope("functional_1/add", layers) is None
    inlined = "a.ktrt0/cond/a/b.ktrt1/MatMul_tfg_inlined_a.ktrt0/cond_0"
    assert layer_of_scope(inlined, layers) == "a/b"
    assert layer_of_scope(f"{inlined}/c.ktrt2/Add_tfg_inlined_{inlined}_0__7:0", layers) == "c"


def test_a_shared_layer_beside_one_named_like_its_second_scope(k):
    x = k.Input((4,))
    a, b = k.layers.Dense(4, name="dense"), k.layers.Dense(4, name="dense_1")
    assert products(k.Model(x, a(b(a(x))))) == {"dense": 2, "dense_1": 1}


def test_a_nested_model_called_twice_beside_one_named_like_its_second_scope(k):
    def nested(name):
        return k.Sequential([k.Input((4,)), k.layers.Dense(4, name="d")], name=name)

    x, m, n = k.Input((4,)), nested("m"), nested("m_1")
    assert products(k.Model(x, n(m(n(m(m(x))))))) == {"m/d": 3, "m_1/d": 2}


def test_two_layers_of_one_name(k):
    pair = pair_layer(k, lambda self, x: self.b(self.b(self.a(x))), "same", "same")
    assert products(model_of(k, pair(name="p"))) == {"p/same": 1, "p/same#2": 2}


def test_layers_called_inside_a_tf_function_that_has_run_before(k):
    import tensorflow as tf

    pair = pair_layer(k, tf.function(lambda self, x: self.b(self.a(x)) + self.a(x)))
    model = model_of(k, pair(name="p"))
    model.predict(np.zeros((2, 4)), verbose=0)
    assert products(model) == {"p/d": 2, "p/d_1": 1}


def test_layers_called_in_a_branch(k):
    import tensorflow as tf

    def call(self, x):
        return tf.cond(tf.shape(x)[1] > 2, lambda: self.b(x), lambda: self.a(x))

    assert products(model_of(k, pair_layer(k, call)(name="p"))) == {"p/d_1": 1}


def test_layers_inside_wrappers(k):
    frame = k.Sequential(
        [k.Input((6, 6, 1)), k.layers.Conv2D(2, 3, name="conv"), k.layers.Flatten()], name="f"
    )
    model = model_of(k, k.layers.TimeDistributed(frame, name="td"), 2, 6, 6, 1)
    assert set(products(model)) == {"td/f/conv"}
    cell = k.layers.RNN(k.layers.GRUCell(3, name="cell"), unroll=True, name="rnn")
    assert set(products(model_of(k, cell, 2, 4))) == {"rnn/cell"}


def test_the_layer_inside_spectral_normalization():
    import keras

    layer = keras.layers.SpectralNormalization(keras.layers.Dense(3, name="d"), name="sn")
    assert products(model_of(keras, layer)) == {"sn/d": 1}


def test_names_with_slashes_are_one_layer_each():
    import tf_keras as k

    x, nested = k.Input((4,)), k.Sequential([k.Input((4,)), k.layers.Dense(4, name="b")], name="a")
    y = k.layers.Dense(4, name="a/b/c")(k.layers.Dense(4, name="a/b")(x))
    assert products(k.Model(x, nested(y))) == {"a/b": 1, "a/b/c": 1, "a/b#2": 1}


def test_a_kernel_knows_the_layer_that_holds_it(k):
    def call(self, x):
        return x @ self.b.kernel + self.a(x)

    traced = trace(model_of(k, pair_layer(k, call)(name="p")))
    assert sorted(traced.holders.values()) == [("p/d",), ("p/d_1",)]


@pytest.mark.parametrize("name", ["_begins", "ends_", "a.ktrt7", "p>q"])
def test_names_that_tensorflow_would_not_begin_with(name):
    import keras

    assert products(model_of(keras, keras.layers.Dense(3, name=name))) == {name: 1}


def test_calls_are_as_they_were_afterwards(k):
    model = model_of(k, pair_layer(k, lambda self, x: self.b(self.a(x)))(name="p"))
    trace(model)
    layer = model.get_layer("p")
    assert "call" not in vars(layer) and "call" not in vars(layer.a)
