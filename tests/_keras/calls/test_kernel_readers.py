"""Who computes with the kernels of layers that lie inside layers of somebody else's."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt._keras.calls.kernel_readers import KernelUse, kernel_uses
from keras_trt._keras.flavor_of import flavor_of

USUAL, TOO, INSTEAD, ASSIGNED = (
    KernelUse(),
    KernelUse(around=True),
    KernelUse(own=False, around=True),
    KernelUse(assigned=True),
)


def uses(model):
    return kernel_uses(flavor_of(model), model, type)


def around(k, body, *, inside=None):
    """A layer around the layer `inner`, whose call is `body(inner, x)`."""

    class Around(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = k.layers.Dense(8, name="inner") if inside is None else inside

        def build(self, shape):
            if not self.inner.built:
                self.inner.build(shape)
            self.built = True

        def call(self, x):
            return body(self.inner, x)

        def compute_output_shape(self, shape):
            return (*shape[:-1], 8)

    return Around


def kernel(layer):
    return tf.convert_to_tensor(layer.kernel)


def assigned_somewhere(inner, x):
    def assign():
        inner.kernel.assign(kernel(inner) * 0.5)
        return 0.0

    tf.cond(tf.reduce_sum(x) > 0, assign, lambda: 0.0)
    return inner(x)


BODIES = {
    "calls": (lambda inner, x: inner(x), USUAL),
    "calls its call": (lambda inner, x: inner.call(x), USUAL),
    "multiplies": (lambda inner, x: tf.matmul(x, kernel(inner)), INSTEAD),
    "multiplies by what it makes of it": (
        lambda inner, x: tf.einsum("bi,io->bo", x, kernel(inner) * 2.0),
        INSTEAD,
    ),
    "multiplies by `weights`": (
        lambda inner, x: tf.matmul(x, tf.convert_to_tensor(inner.weights[0])),
        INSTEAD,
    ),
    "both": (lambda inner, x: tf.matmul(inner(x), kernel(inner), transpose_b=True), TOO),
    "calls what it may not": (lambda inner, x: inner(x) if x.shape[-1] == 8 else None, USUAL),
    "assigns": (lambda inner, x: (inner.kernel.assign(kernel(inner) * 0.5), inner(x))[1], ASSIGNED),
    "adds to it": (lambda inner, x: (inner.kernel.assign_add(kernel(inner)), inner(x))[1], ASSIGNED),
    "sums it up": (lambda inner, x: (tf.reduce_sum(kernel(inner)), inner(x))[1], USUAL),
    "reads its shape": (lambda inner, x: inner(x) * float(inner.kernel.shape[0]), USUAL),
}


@pytest.mark.parametrize("where", ["functional", "subclassed", "wrapped"])
@pytest.mark.parametrize("name", BODIES)
def test_who_computes_with_a_kernel(k, name, where):
    body, expected = BODIES[name]
    layer = around(k, body)(name="around")
    if where == "subclassed":
        model = type("Net", (k.Model,), {"call": lambda self, x: self.around(x)})()
        model.around = layer
        model(np.zeros((2, 8), "float32"))
        path = "around/inner"
    elif where == "functional":
        x = k.Input((8,))
        model, path = k.Model(x, layer(x)), "around/inner"
    else:
        x = k.Input((3, 8))
        model, path = k.Model(x, k.layers.TimeDistributed(layer, name="each")(x)), "each/around/inner"
    before = model.get_weights()
    assert uses(model) == {path: expected}
    np.testing.assert_equal(model.get_weights(), before)


def test_an_assignment_in_a_branch_counts(k):
    x = k.Input((8,))
    model = k.Model(x, around(k, assigned_somewhere)(name="around")(x))
    assert uses(model) == {"around/inner": ASSIGNED}


def test_a_layer_of_the_model_that_another_one_reads_is_used_by_both(k):
    dense = k.layers.Dense(8, name="dense")
    tied = around(k, lambda inner, x: tf.matmul(x, kernel(inner), transpose_b=True), inside=dense)
    x = k.Input((8,))
    assert uses(k.Model(x, tied(name="tied")(dense(x)))) == {"dense": TOO}


def test_layers_of_kerass_own_may_read_what_they_hold(k):
    x = k.Input((5, 8))
    inside = k.Sequential([k.Input((5, 8)), k.layers.LSTM(4, return_sequences=True, name="lstm")])
    y = around(k, lambda inner, x: inner(x), inside=inside)(name="around")(x)
    own = k.layers.Bidirectional(k.layers.GRU(4))(y)
    assert set(uses(k.Model(x, own)).values()) == {USUAL}


def test_several_inputs_and_nested_models(k):
    class Two(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.a, self.b = k.layers.Dense(8, name="a"), k.layers.Dense(8, name="b")

        def build(self, *_):
            self.a.build((None, 8))
            self.b.build((None, 8))
            self.built = True

        def call(self, pair, scale=1.0, training=None):
            first, second = pair
            return self.a(first) * scale + tf.matmul(second, kernel(self.b))

        def compute_output_shape(self, *_):
            return (None, 8)

    x = k.Input((8,))
    inner = k.Model(x, Two(name="two")([x, x], scale=2.0), name="net")
    y = k.Input((8,))
    assert uses(k.Model(y, inner(y))) == {"net/two/a": USUAL, "net/two/b": INSTEAD}


def test_what_cannot_be_traced_is_not_known(k):
    class Eager(k.Model):
        def __init__(self):
            super().__init__()
            self.dense = k.layers.Dense(4)

        def call(self, x):
            return self.dense(x) * float(np.asarray(x).sum())

    model = Eager()
    assert uses(model) == {}
    model(np.ones((1, 3), "float32"))
    assert uses(model) == {}


def test_whole_numbers_that_keras_does_not_remember(k):
    class Tied(k.Model):
        def __init__(self):
            super().__init__()
            self.table, self.dense = k.layers.Embedding(5, 4, name="table"), k.layers.Dense(4, name="dense")

        def call(self, ids):
            looked_up = tf.gather(tf.convert_to_tensor(self.table.embeddings), ids)
            return tf.matmul(
                self.dense(looked_up), tf.convert_to_tensor(self.table.embeddings), transpose_b=True
            )

    model = Tied()
    model.table.build((None, None))
    model(np.zeros((1, 3), "int32"))
    assert uses(model) == {"table": INSTEAD, "dense": USUAL}
