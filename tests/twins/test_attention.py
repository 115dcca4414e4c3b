"""Subclasses of attention layers whose products are not Keras's."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt


def classes(k):
    class Linear(k.layers.MultiHeadAttention):  # a `call` that never comes to Keras's products
        def call(self, query, value, key=None):
            if not getattr(self, "_built_from_signature", True):  # tf_keras
                self._build_from_signature(query, value)
            q, k, v = self._query_dense(query), self._key_dense(value), self._value_dense(value)
            scores = tf().einsum("bqhd,bkhd->bhqk", q, k)
            return self._output_dense(tf().einsum("bhqk,bkhd->bqhd", scores / 10.0, v))

    class Halved(k.layers.MultiHeadAttention):  # other products behind Keras's `call`
        def _compute_attention(self, query, key, value, *args, **kwargs):
            result, scores = super()._compute_attention(query, key, value, *args, **kwargs)
            return result / 2.0, scores

    class Doubled(k.layers.MultiHeadAttention):  # Keras's products in a `call` of its own
        def call(self, query, value, key=None, **options):
            return 2.0 * super().call(query, value, key, **options)

    return {"Linear": Linear, "Halved": Halved, "Doubled": Doubled}


def tf():
    import tensorflow

    return tensorflow


@pytest.mark.parametrize(("name", "inside"), [("Linear", False), ("Halved", False), ("Doubled", True)])
def test_only_products_that_keras_computes_are_quantised(k, name, inside, tmp_path):
    x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("float32")
    inputs = k.Input((6, 8), name="x")
    model = k.Model(inputs, classes(k)[name](2, 4, name="attention")(inputs, inputs))
    quantized = keras_trt.quantize_model(model, calibration_data=x, verbose=0)
    rows = {row["layer"]: row for row in keras_trt.report(quantized).rows}
    assert bool(rows["attention"]["quantised"]) == inside
    assert inside or "its own way" in rows["attention"]["reason"]
    assert rows["attention/query"]["quantised"]
    found, expected = np.asarray(quantized(x)), np.asarray(model(x))
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
    report = keras_trt.export(quantized, tmp_path / "net", engine=None, verbose=0)
    assert report.differences[0]["relative"] < 0.02
