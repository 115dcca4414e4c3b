"""Einsums of two operands leave as one MatMul or Mul between Transposes, and compute what NumPy does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import keras_trt

TENSORS = {
    "keys and queries": "aecd,abcd->acbe",
    "queries and keys": "abcd,aecd->acbe",
    "values": "acbe,aecd->abcd",
    "batched matrices": "abc,acd->abd",
    "batched matrices, turned": "abc,acd->adb",
    "matrix and vector": "abc,ac->ab",
    "vector and matrix": "ac,abc->ab",
    "dot": "abc,abc->a",
    "two letters summed": "abcd,abcde->ae",
    "outer": "ab,ac->abc",
    "outer, turned": "ab,ac->acb",
    "elementwise": "abc,abc->abc",
    "elementwise, turned": "abc,acb->abc",
    "rows, two of each": "abcd,acdef->abef",
    "over the batch": "ab,ac->bc",
    "over the batch, turned": "ab,ac->cb",
}
WEIGHTED = {
    "dense": "abc,cd->abd",
    "dense, turned weights": "abc,dc->abd",
    "weights first": "dc,abc->abd",
    "heads": "abc,cde->abde",
    "heads, turned": "abc,cde->adbe",
    "out of heads": "abcd,cde->abe",
    "image": "abcd,de->abce",
    "scale": "abc,c->abc",
    "scale and sum": "abc,bc->a",
}
SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 6, "f": 7}
COMPUTED_SHAPES = {"Shape", "Gather", "ReduceProd", "Concat", "Einsum", "Gemm"}


def exported(k, tmp_path, inputs, outputs):
    """The operators of the exported model, the runner's outputs for data, and the data."""
    keras_trt.export(k.Model(inputs, outputs), tmp_path / "b", engine=None, verbose=0)
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(SIZES["a"], *i.shape[1:])).astype("float32") for i in inputs]
    predicted = keras_trt.load(tmp_path / "b", "onnxruntime", verbose=0).predict_on_batch(data)
    return [n.op_type for n in onnx.load(tmp_path / "b" / "model.onnx").graph.node], predicted, data


def einsum_layer(k, equation, weight=None, place=1):
    import tensorflow as tf

    class Einsum(k.layers.Layer):
        def call(self, inputs):
            operands = [inputs] if weight is not None else list(inputs)
            if weight is not None:
                operands.insert(place, tf.constant(weight))
            return tf.einsum(equation, *operands)

    return Einsum()


def symbolic(k, term):
    return k.Input([SIZES[c] for c in term[1:]])


@pytest.mark.parametrize("equation", TENSORS.values(), ids=TENSORS)
def test_two_tensors(k, equation, tmp_path):
    inputs = [symbolic(k, term) for term in equation.split("->")[0].split(",")]
    names, predicted, data = exported(k, tmp_path, inputs, einsum_layer(k, equation)(inputs))
    np.testing.assert_allclose(predicted, np.einsum(equation, *data), atol=1e-5)
    assert names.count("MatMul") + names.count("Mul") == 1
    assert COMPUTED_SHAPES.isdisjoint(names)


@pytest.mark.parametrize("equation", WEIGHTED.values(), ids=WEIGHTED)
def test_a_tensor_and_weights(k, equation, tmp_path):
    terms = equation.split("->")[0].split(",")
    place = 0 if "a" not in terms[0] else 1
    shape = [SIZES[c] for c in terms[place]]
    weight = np.random.default_rng(1).normal(size=shape).astype("float32")
    x = symbolic(k, terms[1 - place])
    names, predicted, data = exported(k, tmp_path, [x], einsum_layer(k, equation, weight, place)(x))
    operands = [weight, *data] if place == 0 else [*data, weight]
    np.testing.assert_allclose(predicted, np.einsum(equation, *operands), atol=1e-5)
    assert names.count("MatMul") + names.count("Mul") == 1
    assert len(names) <= 4
    assert COMPUTED_SHAPES.isdisjoint(names)


def test_attention_leaves_as_two_products_of_four_axes(k, tmp_path):
    x = k.Input((16, 32))
    names, _, _ = exported(k, tmp_path, [x], k.layers.MultiHeadAttention(4, 8)(x, x))
    assert names.count("MatMul") == 6
    assert names.count("Transpose") == 4
    assert len(names) <= 22


def test_open_sizes_that_would_be_merged_are_left_to_the_converter(k, tmp_path):
    inputs = [k.Input((None, None, 4)), k.Input((4, 5))]
    y = einsum_layer(k, "abcd,ade->abce")(inputs)
    shapes = [(None, (2, 3, 4), (2, 3, 4), 4), (None, 4, 5)]
    keras_trt.export(k.Model(inputs, y), tmp_path / "b", engine=None, input_shapes=shapes, verbose=0)
    rng = np.random.default_rng(0)
    data = [rng.normal(size=s).astype("float32") for s in ((2, 3, 3, 4), (2, 4, 5))]
    predicted = keras_trt.load(tmp_path / "b", "onnxruntime", verbose=0).predict_on_batch(data)
    np.testing.assert_allclose(predicted, np.einsum("abcd,ade->abce", *data), atol=1e-5)
