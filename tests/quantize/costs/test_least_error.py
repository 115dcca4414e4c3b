"""Of several ranges, the one that the layer's outputs suffer least from."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import calibrate, quantize_model
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.quantize.calibrators import Auto, Max, Percentile
from keras_trt.quantize.costs.least_error import Candidates, least_error
from keras_trt.quantize.inventory import activation_quantizers, quantizers_of, twins


def ranges(model):
    flavor = flavor_of(model)
    return {q.name: float(flavor.raw(q.amax).numpy()) for _, q in activation_quantizers(flavor, model)}


def chosen(model, x, *amaxes, tensors=None):
    """The best of these ranges for each quantiser of a model, by its path."""
    flavor = flavor_of(model)
    rows = [(path, q) for path, q in activation_quantizers(flavor, model)]
    candidates = [Candidates(q, tensors or path + q.name, np.array(amaxes, np.float32)) for path, q in rows]
    best = least_error(flavor, model, candidates, [flavor.tf.constant(x)])
    return {q.name: amaxes[i] for (_, q), i in zip(rows, best, strict=True)}


def far_channel():
    """Rows of eight channels within 1, of which the first reaches 100."""
    x = np.random.default_rng(0).uniform(-1, 1, (64, 8)).astype("float32")
    x[:, 0] *= 100
    return x


def heads(k, **kernels):
    """Dense layers on one input, with these factors on the first row and the others of their kernels."""
    i = k.Input((8,))
    model = k.Model(i, [k.layers.Dense(4, name=name)(i) for name in kernels])
    for name, (first, others) in kernels.items():
        kernel, bias = model.get_layer(name).get_weights()
        kernel[0], kernel[1:] = kernel[0] * first, kernel[1:] * others
        model.get_layer(name).set_weights([kernel, bias])
    return model


def test_channels_count_by_what_they_are_multiplied_with(k):
    x = far_channel()
    model = quantize_model(
        heads(k, far=(1, 0), near=(0, 1)), calibration_data=x, method="max", min_sqnr=None, verbose=0
    )
    before = ranges(model)
    assert chosen(model, x, 100.0, 1.0) == {"far_quantizer": 100.0, "near_quantizer": 1.0}
    assert ranges(model) == before  # nothing is set


def test_quantisers_of_one_tensor_get_one_range(k):
    x = far_channel()
    model = quantize_model(
        heads(k, far=(1, 1e-4), near=(0, 1)), calibration_data=x, method="max", min_sqnr=None, verbose=0
    )
    assert set(chosen(model, x, 100.0, 1.0, tensors="x").values()) == {100.0}
    calibrate(model, x, Auto((Max(), Percentile(80))), verbose=0)
    assert len(set(ranges(model).values())) == 1


def test_products_inside_attention_are_measured(k):
    i = k.Input((16, 8))
    model = k.Model(i, k.layers.MultiHeadAttention(2, 4, name="attention")(i, i))
    x = np.random.default_rng(0).normal(size=(16, 16, 8)).astype("float32")
    model = quantize_model(model, calibration_data=x, method="max", min_sqnr=None, verbose=0)
    best = chosen(model, x, 50.0, 1.0)
    assert best["attention_probabilities_quantizer"] == 1.0  # a softmax never reaches further


def test_a_layer_that_is_called_twice_counts_both_calls(k):
    i, j = k.Input((8,)), k.Input((8,))
    dense = k.layers.Dense(4, name="dense")
    model = k.Model([i, j], k.layers.Add()([dense(i), dense(j)]))
    x, far = np.random.default_rng(0).uniform(-1, 1, (2, 64, 8)).astype("float32")
    data = [x, far * 50]
    model = quantize_model(model, calibration_data=data, method="max", only="dense", min_sqnr=None, verbose=0)
    flavor = flavor_of(model)
    ((_, layer),) = twins(flavor, model)
    candidates = [Candidates(q, 0, np.array([1, 50], np.float32)) for q in quantizers_of(layer)]
    batches = [[flavor.tf.constant(each) for each in data]]
    assert least_error(flavor, model, candidates, batches) == [1]


@pytest.mark.parametrize("scheme", ["int8", "fp8"])
def test_the_default_is_no_worse_than_the_largest_magnitude(k, scheme):
    """A tail that hardly any value is in: the grid is better spent on the rest."""
    model = heads(k, near=(0.01, 1))
    x = np.random.default_rng(0).standard_t(3, (4000, 8)).astype("float32")
    exact = model.predict(x, verbose=0)

    def noise(**options):
        quantized = quantize_model(model, scheme, calibration_data=x, min_sqnr=None, verbose=0, **options)
        return np.square(quantized.predict(x, verbose=0) - exact).sum()

    assert noise() < noise(method="max") * (0.95 if scheme == "int8" else 1.01)


def test_few_rows_of_large_inputs_are_enough(k):
    i = k.Input((64, 64, 3))
    model = k.Model(i, k.layers.Conv2D(2, 3, name="conv")(i))
    x = np.random.default_rng(0).normal(size=(40, 64, 64, 3)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert 2 < ranges(quantized)["conv_quantizer"] <= np.abs(x).max()


def test_what_the_first_rows_do_not_show_counts(k):
    """One value in the last of many rows reaches far: only the histogram has seen it."""
    model, x = heads(k, near=(1, 1)), np.random.default_rng(0).uniform(-1, 1, (600, 8)).astype("float32")
    x[-1, 0] = 1e4
    quantized = quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    assert ranges(quantized)["near_quantizer"] > 100


def test_where_sums_of_squares_overflow_nothing_is_cut(k):
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32") * np.float32(1e25)
    quantized = quantize_model(heads(k, near=(1, 1)), calibration_data=x, min_sqnr=None, verbose=0)
    assert ranges(quantized)["near_quantizer"] == np.abs(x).max()
