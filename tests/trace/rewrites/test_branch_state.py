"""Updates of variables inside branches and loops go if no output depends on them, else they are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt.convert.convertible import check_convertible
from keras_trt.errors import ExportError
from keras_trt.trace.trace import trace


def on(x):
    return tf.reduce_sum(x) > 0


def twice(f):
    return lambda x, flag, n, count: tf.cond(flag > 0, lambda: f(x, flag, n, count), lambda: x)


def counted(x, flag, n, count):
    return tf.cond(on(x), count, lambda: 3 * x)


def counted_by_flag(x, flag, n, count):
    return tf.cond(flag > 0, count, lambda: 3 * x)


def counted_in_a_loop(x, flag, n, count):
    def body(i, y):
        count()
        return i + 1, 2 * y

    return tf.while_loop(lambda i, y: i < 3, body, (0, x))[1]


def branch_on_the_count(x, flag, n, count):
    return tf.cond(on(x), lambda: tf.cond(n > 0, count, lambda: 3 * x), lambda: x)


def factor(x, flag, n, count):
    return counted(x, flag, n, count) * (1 + n)


def factor_by_flag(x, flag, n, count):
    return counted_by_flag(x, flag, n, count) * (1 + n)


def not_taken(x, flag, n, count):
    return tf.cond(flag < 0, count, lambda: 3 * x) * (1 + n)


def model_of(k, compute):
    class Counts(k.layers.Layer):
        def build(self, _):
            self.flag = self.add_weight(name="flag", shape=(), initializer="ones", trainable=False)
            self.n = self.add_weight(name="n", shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            def count():
                self.n.assign(self.n + 1.0)
                return 2 * x

            return compute(x, tf.convert_to_tensor(self.flag), tf.convert_to_tensor(self.n), count)

        def compute_output_shape(self, shape):
            return shape

    return k.Sequential([k.Input((3,), name="x"), Counts(name="counts")])


def computed(traced, x):
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(traced.whole_graph(), name="")
        return session.run(traced.output_tensors[0], {traced.input_tensors[0]: x})


@pytest.mark.parametrize(
    "compute",
    [counted, counted_by_flag, twice(counted), twice(counted_by_flag), counted_in_a_loop, not_taken],
    ids=["branch", "chosen branch", "branch in a branch", "both chosen", "loop", "branch not taken"],
)
def test_a_layer_that_counts_in_a_branch_computes_what_keras_computes(k, compute):
    model = model_of(k, compute)
    x = np.abs(np.random.default_rng(0).normal(size=(2, 3))).astype("float32")
    traced = trace(model)
    check_convertible(traced)
    for rows in (x, -x):
        found = computed(traced, rows)
        model.get_layer("counts").n.assign(0.0)
        np.testing.assert_allclose(found, model(rows), rtol=1e-6)


@pytest.mark.parametrize(
    "compute", [factor, factor_by_flag, twice(factor_by_flag), branch_on_the_count], ids=lambda f: f.__name__
)
def test_a_count_that_outputs_depend_on_is_refused_by_the_layer(k, compute):
    with pytest.raises(ExportError, match="Layer 'counts' keeps a state from one call to the next"):
        check_convertible(trace(model_of(k, compute)))
