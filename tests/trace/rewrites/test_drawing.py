"""Layers that draw random numbers at inference, as the encoder of a variational autoencoder does."""

import numpy as np
import pytest
import tensorflow as tf

import keras_trt
from keras_trt.trace.trace import trace


def _encoder(k, draw, rows=None):
    """A mean, and a sample around it; `draw(seed, shape)` gives the noise."""

    class Sampling(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            if hasattr(k, "random"):  # Keras 3
                self.seed_generator = k.random.SeedGenerator(7)

        def call(self, mean):
            return mean + 0.5 * draw(getattr(self, "seed_generator", None), tf.shape(mean))

        def compute_output_shape(self, shape):
            return shape

    inputs = k.Input((6,), batch_size=rows)
    mean = k.layers.Dense(3, name="mean")(inputs)
    return k.Model(inputs, [mean, Sampling(name="sampling")(mean)])


def _normal(k):
    if k.__name__ == "tf_keras":
        return lambda _, shape: tf.random.normal(shape)
    return lambda seed, shape: k.random.normal(shape, seed=seed)


@pytest.mark.parametrize("rows", [None, 64], ids=["open", "fixed"])
def test_each_call_of_the_file_draws_anew(k, rows, rng, tmp_path):
    model, x = _encoder(k, _normal(k), rows), np.repeat(rng.standard_normal((1, 6)), 64, 0).astype("float32")
    batch = {} if rows else {"batch": (1, 64, 64)}
    keras_trt.export(model, tmp_path / "net", engine=None, verbose=0, **batch)
    engine = keras_trt.load(tmp_path / "net", verbose=0)
    (mean, first), (_, second) = (engine.predict(x, batch_size=64, verbose=0) for _ in range(2))
    np.testing.assert_allclose(mean, np.asarray(model(x)[0]), rtol=1e-4, atol=1e-5)
    for noise in (first - mean, second - mean):
        assert abs(noise.mean()) < 0.15 and abs(noise.std() - 0.5) < 0.1
    assert not np.array_equal(first, second)


def test_uniform_numbers_are_drawn_anew(rng, tmp_path):
    import keras

    model = _encoder(keras, lambda seed, shape: keras.random.uniform(shape, seed=seed))
    assert "RandomUniform" in {node.op for node in trace(model).graph_def.node}


def test_numbers_of_a_seed_that_stays_are_constants(rng, tmp_path):
    import keras

    model = _encoder(keras, lambda seed, shape: keras.random.normal((1, 3), seed=7))
    keras_trt.export(model, tmp_path / "net", engine=None, verbose=0)
    x = rng.standard_normal((4, 6)).astype("float32")
    predicted = keras_trt.load(tmp_path / "net", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(predicted[1], np.asarray(model(x)[1]), rtol=1e-4, atol=1e-5)
