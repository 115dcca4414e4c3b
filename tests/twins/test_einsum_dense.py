"""EinsumDense leaves as one int8 product, whichever of its axes are open."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from keras_trt.twins.einsum_dense import as_product, is_product


def projection(k, equation, output_shape, shape):
    i = k.Input(shape)
    kernel, output = equation.split(",")[1].split("->")
    bias = next(letter for letter in reversed(output) if letter in kernel)
    return k.Model(i, k.layers.EinsumDense(equation, output_shape, bias_axes=bias, name="projection")(i))


CASES = [
    ("bsd,kdh->bskh", (None, 1, 4), (None, 6)),  # one head for keys and values
    ("bsd,dnh->bsnh", (None, 2, 4), (None, 6)),
    ("btnh,nhd->btd", (None, 6), (None, 2, 4)),
    ("bijd,dh->bijh", (None, None, 4), (None, None, 6)),
    ("bsd,dh->bhs", (4, None), (None, 6)),
]


@pytest.mark.parametrize(("equation", "output_shape", "shape"), CASES)
def test_with_open_axes_it_is_one_int8_product(k, equation, output_shape, shape, tmp_path):
    model = projection(k, equation, output_shape, shape)
    x = np.random.default_rng(0).normal(size=(4, *(size or 5 for size in shape))).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    report = export(quantized, tmp_path / "net", engine=None, verbose=0)
    assert report.int8_layers == ("projection",) and not report.float_layers
    assert report.operators["MatMul"] == 1 and "Einsum" not in report.operators


@pytest.mark.parametrize(("equation", "output_shape", "shape"), CASES)
def test_the_product_is_what_einsum_computes(k, equation, output_shape, shape):
    import tensorflow as tf

    from keras_trt._keras.flavor_of import flavor_of

    layer = projection(k, equation, output_shape, shape).get_layer("projection")
    x = np.random.default_rng(0).normal(size=(3, *(size or 5 for size in shape))).astype("float32")
    spec = tf.TensorSpec((None, *shape))
    product = tf.function(lambda x: as_product(flavor_of(layer), layer, x), input_signature=[spec])
    np.testing.assert_allclose(product(x), layer(x), rtol=1e-5, atol=1e-6)
    assert product.get_concrete_function().outputs[0].shape.rank == len(layer(x).shape)


def test_a_matrix_for_each_index_is_no_product():
    assert not is_product("abc,bcd->abd")


def test_a_call_of_somebody_else_s_is_what_is_exported(k, tmp_path):
    class Doubled(k.layers.EinsumDense):
        def call(self, x):
            return super().call(2 * x)

    i = k.Input((3, 4))
    model = k.Model(i, Doubled("bsd,dh->bsh", (3, 6), name="doubled")(i))
    x = np.random.default_rng(0).normal(size=(4, 3, 4)).astype("float32")
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    export(quantized, tmp_path / "net", engine=None, verbose=0)
    predicted = load(tmp_path / "net", verbose=0).predict(x, verbose=0)
    np.testing.assert_allclose(predicted, quantized.predict(x, verbose=0), atol=1e-5)
