"""Lists that a loop in Python fills are stacks of their items; other lists stay."""

from __future__ import annotations

import pytest
import tensorflow as tf

from keras_trt.exporting.export import export
from keras_trt.trace.trace import trace


def sums(x):
    """A recurrence over four steps, as decoders are written."""
    steps = tf.TensorArray(tf.float32, size=4).unstack(tf.transpose(x, [1, 0, 2]))
    states, state = tf.TensorArray(tf.float32, size=4), tf.zeros_like(x[:, 0])
    for t in range(4):
        state = tf.tanh(state + steps.read(t))
        states = states.write(t, state)
    return tf.transpose(states.stack(), [1, 0, 2])


def out_of_order(x):
    items = tf.TensorArray(tf.float32, size=3, clear_after_read=False)
    for place, factor in ((2, 1.0), (0, 2.0), (1, 3.0), (2, 4.0)):  # the last one counts
        items = items.write(place, factor * x)
    return tf.concat([items.stack()[0], items.read(2), items.read(1)], -1)


def in_a_while(x):
    def step(t, items):
        return t + 1, items.write(t, x[:, t] * tf.cast(t, tf.float32))

    items = tf.TensorArray(tf.float32, size=4)
    items = tf.while_loop(lambda t, _: t < 4, step, (0, items))[1]
    return tf.transpose(items.stack(), [1, 0, 2])


def model(k, function):
    x = k.Input((4, 3))
    return k.Model(x, k.layers.Lambda(function)(x))


@pytest.mark.parametrize("function", [sums, out_of_order])
def test_items_are_read_where_they_were_put(k, function, tmp_path):
    net = model(k, function)
    assert not [node.op for node in trace(net).graph_def.node if "List" in node.op]
    assert export(net, tmp_path / "net", engine=None, verbose=0).differences[0]["relative"] < 1e-5


def test_the_lists_of_a_while_loop_stay_its_own(k, tmp_path):
    report = export(model(k, in_a_while), tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 1e-5
    assert "Loop" in report.operators


def test_a_list_with_a_gap_stays(k):
    def gap(x):
        return tf.TensorArray(tf.float32, size=2, element_shape=(None, 4, 3)).write(1, x).stack()[1]

    assert "TensorListStack" in {node.op for node in trace(model(k, gap)).graph_def.node}
