"""The constant part of a graph is computed once; what it computes stays the same."""

from __future__ import annotations

import numpy as np

from keras_trt.trace.rewrites.folding import fold_constants
from keras_trt.trace.weights import embed


def frozen(function, *specs):
    import tensorflow as tf

    concrete = tf.function(function).get_concrete_function(*specs)
    return concrete.graph.as_graph_def(), [t.name for t in concrete.inputs], concrete.outputs[0].name


def evaluate(graph_def, output, feeds):
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run(output, feeds)


def test_constant_arithmetic_becomes_one_constant():
    import tensorflow as tf

    def function(x):
        weight = tf.identity(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
        return x @ (tf.round(weight * 3.0) / tf.sqrt(tf.reduce_max(weight)))

    graph_def, inputs, output = frozen(function, tf.TensorSpec([None, 2], tf.float32))
    x = np.float32([[1, -1]])
    before = evaluate(graph_def, output, {inputs[0]: x})
    fold_constants(graph_def, [output])
    kinds = [n.op for n in graph_def.node]
    assert sorted(set(kinds)) == ["Const", "Identity", "MatMul", "Placeholder"]
    assert kinds.count("Const") == 1
    np.testing.assert_array_equal(evaluate(graph_def, output, {inputs[0]: x}), before)


def test_weights_outside_of_the_graph_are_computed_with_and_stay_outside():
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, tf.float32) for shape in ([None, 300], [300, 200], [200], [7])]
    graph_def, inputs, output = frozen(
        lambda x, kernel, other, unused: x @ (tf.round(kernel) * 2.0) + tf.reshape(other, (1, 200)), *specs
    )
    rng = np.random.default_rng(0)
    x, kernel, other = (rng.normal(size=s).astype(np.float32) for s in ((2, 300), (300, 200), (200,)))
    before = evaluate(graph_def, output, dict(zip(inputs, (x, kernel, other), strict=False)))
    names = [name.split(":")[0] for name in inputs]
    given = {names[1]: kernel, names[2]: other, names[3]: np.zeros(7, np.float32)}
    weights, origins = fold_constants(graph_def, [output], given, {name: frozenset([name]) for name in given})
    assert "Round" not in [n.op for n in graph_def.node] and len(weights) == 2
    assert {origins[name] for name in weights} == {frozenset([names[1]]), frozenset([names[2]])}
    assert list(given) == names[1:]  # what was handed in stays as it was
    assert any(np.shares_memory(value, other) for value in weights.values())  # reshaped, not copied
    feeds = {inputs[0]: x, **{f"{name}:0": value for name, value in weights.items()}}
    np.testing.assert_allclose(evaluate(graph_def, output, feeds), before, rtol=1e-6)
    embed(graph_def, weights)
    np.testing.assert_allclose(evaluate(graph_def, output, {inputs[0]: x}), before, rtol=1e-6)


def test_a_large_fill_is_not_written_out():
    import tensorflow as tf

    graph_def, _, output = frozen(lambda x: x + tf.fill([2048, 2048], 1.0), tf.TensorSpec([], tf.float32))
    fold_constants(graph_def, [output])
    assert graph_def.ByteSize() < 10_000


def test_placeholders_and_random_numbers_are_not_constants():
    import tensorflow as tf

    graph_def, _, output = frozen(lambda x: x + tf.random.uniform([2]), tf.TensorSpec([2], tf.float32))
    fold_constants(graph_def, [output])
    assert "RandomUniform" in [n.op for n in graph_def.node]


def test_a_constant_output_survives():
    import tensorflow as tf

    graph_def, _, output = frozen(
        lambda x: tf.identity(tf.constant(2.0) * 3.0), tf.TensorSpec([], tf.float32)
    )
    fold_constants(graph_def, [output])
    assert evaluate(graph_def, output, {}) == 6.0
