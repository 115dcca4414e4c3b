"""The sign of a zero is read as Keras reads it, and without bits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keras_trt.trace.rewrites.signed_zero import drop_signed_zero, read_signs
from tests.trace.rewrites.test_folding import evaluate, frozen

X = np.float32([[0.0, -0.0, -2.0], [-0.0, 0.0, 3.0], [-np.inf, -1e-30, np.inf], [-3.0, -1.0, -0.0]])


def converted(function):
    """The operators that are left, and what the graph computes of `X`."""
    import tensorflow as tf

    graph_def, (x,), output = frozen(function, tf.TensorSpec([None, 3], tf.float32))
    drop_signed_zero(graph_def)
    read_signs(graph_def)
    graph_def = tf.compat.v1.graph_util.extract_sub_graph(graph_def, [output.split(":")[0]])
    return {n.op for n in graph_def.node}, evaluate(graph_def, output, {x: X})


@pytest.mark.parametrize(("search", "axis"), [("argmax", -1), ("argmin", 0), ("argmax", None)])
def test_a_search_is_one_in_the_numbers_themselves(search, axis):
    kinds, found = converted(lambda x: getattr(keras.ops, search)(x, axis=axis))
    assert "SelectV2" not in kinds
    np.testing.assert_array_equal(found, getattr(np, search)(X, axis=axis))


def test_a_sign_is_that_of_a_zero_too():
    kinds, found = converted(keras.ops.signbit)
    np.testing.assert_array_equal(found, np.signbit(X))
    assert "Bitcast" not in kinds


@pytest.mark.parametrize("value", [-5.0, -float(np.finfo(np.float32).tiny)])
def test_zeros_that_the_user_replaces_by_their_sign_are_replaced(value):
    def function(x):
        is_negative_zero = keras.ops.logical_and(keras.ops.equal(x, 0), keras.ops.signbit(x))
        return keras.ops.where(is_negative_zero, value, x)

    _, found = converted(function)
    np.testing.assert_array_equal(found, np.where((X == 0) & np.signbit(X), np.float32(value), X))


def test_other_bits_are_left_alone():
    import tensorflow as tf

    kinds, _ = converted(lambda x: tf.where(tf.logical_and(x > 0, tf.bitcast(x, tf.int32) > 0), 1.0, x))
    assert "Bitcast" in kinds
