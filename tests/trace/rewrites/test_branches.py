"""Branches on fixed sizes are decided while exporting; those on data are not."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt.trace.rewrites.branches import fill_in_sizes
from keras_trt.trace.run import run
from keras_trt.trace.trace import trace

BRANCHES = {"If", "StatelessIf"}


def graph_of(function, *specs):
    return tf.function(function).get_concrete_function(*specs).graph.as_graph_def()


def ops(model, **options):
    return {node.op for node in trace(model, **options).graph_def.node}


@pytest.mark.parametrize("size", [8, 16])
def test_a_crop_of_a_fixed_image_does_not_branch(k, size):
    model = k.Sequential([k.Input((12, 12, 3), name="x"), k.layers.CenterCrop(size, size)])
    traced = trace(model)
    assert not {node.op for node in traced.graph_def.node} & BRANCHES
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(traced.whole_graph(), name="")
        image = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype("float32")
        found = session.run(traced.output_tensors[0], {traced.input_tensors[0]: image})
    expected = next(iter(run(model, traced, {"x": image}).values()))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_padding_to_an_aspect_ratio_does_not_branch():
    import keras

    layer = keras.layers.Resizing(8, 6, pad_to_aspect_ratio=True)
    assert not ops(keras.Sequential([keras.Input((12, 12, 3)), layer])) & BRANCHES


def test_random_crops_of_tf_keras_only_resize():
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((12, 12, 3)), tf_keras.layers.RandomCrop(8, 8)])
    found = ops(model)
    assert "ResizeBilinear" in found and not found & {*BRANCHES, "RngReadAndSkip"}


def test_a_branch_on_an_open_size_stays(k):
    model = k.Sequential([k.Input((None, 12, 3)), k.layers.CenterCrop(8, 8)])
    asks_the_graph = k.__name__ == "tf_keras"  # Keras 3 asks for the size in Python
    assert bool(ops(model) & BRANCHES) == asks_the_graph


@pytest.mark.parametrize(
    ("read", "values"),
    [
        (lambda s: s[1], [7]),
        (lambda s: s[-1], [3]),
        (lambda s: s[1:3], [[7, 5]]),
        (lambda s: s[2:], [[5, 3]]),
        (lambda s: s[:2], []),
        (lambda s: s[::-1][:1], []),
    ],
)
def test_only_fixed_sizes_are_filled_in(read, values):
    def call(x):
        size = tf.reduce_sum(read(tf.shape(x)))
        return tf.cond(size > 4, lambda: x * 2.0, lambda: x)

    graph = graph_of(call, tf.TensorSpec((None, 7, 5, 3)))
    constants = {node.name for node in graph.node if node.op == "Const"}
    assert fill_in_sizes(graph) == bool(values)
    new = [node for node in graph.node if node.op == "Const" and node.name not in constants]
    assert [tf.make_ndarray(node.attr["value"].tensor).tolist() for node in new] == values


def test_a_graph_without_branches_is_left_alone():
    graph = graph_of(lambda x: tf.reshape(x, (-1, tf.shape(x)[1])), tf.TensorSpec((None, 7)))
    assert not fill_in_sizes(graph)


@pytest.mark.parametrize("size", [8, None], ids=["fixed", "open"])
def test_a_branch_on_a_variable_is_the_one_that_is_taken(k, size):
    """Layers that set themselves up with their first batch ask a variable whether they have."""

    class SetUpOnce(k.layers.Layer):
        def build(self, shape):
            self.gain = self.add_weight(name="gain", shape=(), initializer="ones")
            self.done = self.add_weight(name="done", shape=(), dtype="bool", initializer="zeros")
            self.built = True

        def call(self, x):
            def set_up():
                self.gain.assign(tf.reduce_max(tf.abs(x)))
                self.done.assign(True)
                return tf.identity(self.gain)

            return x * tf.cond(tf.convert_to_tensor(self.done), lambda: tf.identity(self.gain), set_up)

    model = k.Sequential([k.Input((size, 3), name="x"), SetUpOnce()])
    x = np.random.default_rng(0).normal(size=(2, 8, 3)).astype("float32")
    model(x)  # sets it up
    traced = trace(model)
    assert not {node.op for node in traced.graph_def.node} & BRANCHES
    gain = np.abs(x).max()
    np.testing.assert_allclose(next(iter(run(model, traced, {"x": x}).values())), x * gain, rtol=1e-6)


def test_a_counter_beside_a_branch_is_no_matter(k):
    """What only an update reads is gone once the branch has been put in its place."""

    class Counts(k.layers.Layer):
        def build(self, shape):
            self.calls = self.add_weight(name="calls", shape=(), initializer="zeros", trainable=False)
            self.flag = self.add_weight(
                name="flag", shape=(), dtype="bool", initializer="ones", trainable=False
            )
            self.built = True

        def call(self, x):
            self.calls.assign_add(1.0)
            return tf.cond(tf.convert_to_tensor(self.flag), lambda: 2 * x, lambda: 3 * x)

    model = k.Sequential([k.Input((3,), name="x"), Counts()])
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    traced = trace(model)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(traced.whole_graph(), name="")
        made = session.run(traced.output_tensors[0], {traced.input_tensors[0]: x})
    np.testing.assert_allclose(made, 2 * x, rtol=1e-6)


def test_a_branch_over_constants_is_computed(k):
    """Its condition and operands are weights; what has to run before it reads the input."""

    class Scaled(k.layers.Layer):
        def build(self, shape):
            self.flag = self.add_weight(name="flag", shape=(), initializer="ones", trainable=False)
            self.gain = self.add_weight(name="gain", shape=(3,), initializer="ones")
            self.built = True

        def call(self, x):
            with tf.control_dependencies([tf.debugging.assert_all_finite(x, "finite")]):
                gain, flag = tf.convert_to_tensor(self.gain), tf.convert_to_tensor(self.flag)
                return x * tf.cond(flag > 0, lambda: 2 * gain, lambda: 3 * gain)

    model = k.Sequential([k.Input((3,), name="x"), Scaled(), Scaled()])
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    traced = trace(model)
    assert not {node.op for node in traced.graph_def.node} & BRANCHES
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(traced.whole_graph(), name="")
        made = session.run(traced.output_tensors[0], {traced.input_tensors[0]: x})
    np.testing.assert_allclose(made, 4 * x, rtol=1e-6)
