"""The noise that rounding leaves at the outputs, against the models that round."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.quantize import quantize_model
from keras_trt.quantize.costs.noise import RoundingNoise
from tests.nets import images, residual_net


def decibels(found, exact):
    noise = np.asarray(found, np.float64) - exact
    return 10 * math.log10(np.square(exact).sum() / np.square(noise).sum())


@pytest.fixture
def measured(k):
    k.utils.set_random_seed(0)
    model, x = residual_net(k), images()[0][:16]
    quantized = quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    flavor = flavor_of(quantized)
    return model, quantized, x, RoundingNoise(flavor, quantized, flavor.tf.convert_to_tensor(x))


def test_all_layers_rounded_are_the_quantised_model(measured):
    model, quantized, x, noise = measured
    exact = model.predict(x, verbose=0).astype(np.float64)
    assert noise.measurable
    assert noise.sqnr(noise.layers) == pytest.approx(
        decibels(quantized.predict(x, verbose=0), exact), abs=0.2
    )
    assert noise.sqnr(()) == math.inf


def test_the_costliest_layers_come_in_the_order_of_what_each_costs_alone(measured):
    noise = measured[-1]
    alone = {path: noise.sqnr([path]) for path in noise.layers}
    found = list(noise.costliest(list(noise.layers)))
    assert dict(found) == alone
    # A group is cut by what it costs as a whole, where noises may cancel out.
    assert [path for path, _ in found[:2]] == sorted(alone, key=alone.get)[:2]
    assert list(noise.costliest([])) == []


def test_outputs_that_no_run_repeats_and_outputs_without_floats_are_not_measured(k):
    import tensorflow as tf

    class Noisy(k.layers.Layer):
        def call(self, x):
            return x + tf.random.normal(tf.shape(x))

    class Decision(k.layers.Layer):
        def call(self, x):
            return tf.argmax(x, axis=-1)

        def compute_output_spec(self, x):
            return k.KerasTensor(x.shape[:-1], "int64")

    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    for last in (Noisy(), Decision()):
        inputs = k.Input((8,))
        model = k.Model(inputs, last(k.layers.Dense(4)(inputs)))
        quantized = quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
        flavor = flavor_of(quantized)
        assert not RoundingNoise(flavor, quantized, flavor.tf.convert_to_tensor(x)).measurable
