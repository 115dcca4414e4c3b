"""What no converter can express is an error that names the layer, the rule and the way out."""

from __future__ import annotations

import re

import pytest

from keras_trt.convert.convertible import check_convertible
from keras_trt.errors import ExportError
from keras_trt.exporting.export import export
from keras_trt.trace.trace import trace


def of_strings(k, layer):
    x = k.Input((1,), dtype="string", name="words")
    return k.Model(x, k.layers.Embedding(5, 2)(layer(x)))


STRINGS = {
    "StringLookup": lambda k: of_strings(k, k.layers.StringLookup(vocabulary=["a", "b"], name="lookup")),
    "TextVectorization": lambda k: of_strings(
        k, k.layers.TextVectorization(vocabulary=["a", "b"], name="lookup")
    ),
    "Hashing": lambda k: k.Sequential(
        [k.Input((2,), dtype="int32"), k.layers.Hashing(4, name="lookup"), k.layers.Embedding(4, 2)]
    ),
}


@pytest.mark.parametrize("engine", [None, "tensorrt_rtx"])
@pytest.mark.parametrize("case", STRINGS)
def test_strings_are_refused_with_the_layer_that_works_on_them(k, case, engine, tmp_path):
    with pytest.raises(ExportError, match="^Layer 'lookup' works on strings .* TensorRT has none") as e:
        export(STRINGS[case](k), tmp_path / "net", engine=engine, verbose=0)
    assert "dataset.map(layer)" in str(e.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_a_state_between_calls_is_refused(k, name, tmp_path):
    x = k.Input((6, 4), batch_size=2)
    model = k.Model(x, getattr(k.layers, name)(3, stateful=True, name="memory")(x))
    with pytest.raises(ExportError, match="^Layer 'memory' keeps a state .* `stateful=False`"):
        export(model, tmp_path / "net", engine=None, verbose=0)
    assert not any(tmp_path.iterdir())


def test_a_program_of_jax_is_refused(k):
    # Needs no JAX: the check looks at the operator alone.
    traced = trace(k.Sequential([k.Input((4,)), k.layers.Dense(2, name="dense"), k.layers.ReLU(name="jax")]))
    (node,) = (node for node in traced.graph_def.node if node.op == "Relu")
    node.op = "XlaCallModule"
    with pytest.raises(
        ExportError, match="^Layer 'jax' is a compiled program of JAX, which no converter reads"
    ):
        check_convertible(traced)


def test_an_assertion_with_a_text_is_no_string(k, tmp_path):
    import tensorflow as tf

    class Checked(k.layers.Layer):
        def call(self, x):
            tf.debugging.assert_less(x, 100.0, message="too large")
            return x * 2.0

        def compute_output_shape(self, shape):
            return shape

    x = k.Input((4,))
    export(k.Model(x, Checked()(x)), tmp_path / "net", engine=None, verbose=0)


def test_a_sparse_output_is_refused(k, tmp_path):
    x = k.Input((3,), dtype="int32")
    model = k.Model(x, k.layers.CategoryEncoding(4, sparse=True, dtype="int32", name="hot")(x))
    with pytest.raises(ExportError, match=re.escape("Output 'hot' is a SparseTensor")) as e:
        export(model, tmp_path / "net", engine=None, verbose=0)
    assert "`sparse=False`" in str(e.value)
