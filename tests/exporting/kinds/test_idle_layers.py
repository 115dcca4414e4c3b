"""Layers that compute nothing at inference are noted at export, and neither lost nor uncalibrated."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.errors import ModelError
from keras_trt.exporting.export import export
from keras_trt.quantize import quantize_model
from keras_trt.runtime import load
from keras_trt.trace.trace import trace


def with_auxiliary_head(k):
    """A head that only training uses."""

    class Net(k.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.body = k.layers.Dense(8, activation="relu", name="body")
            self.head, self.aux = k.layers.Dense(3, name="head"), k.layers.Dense(3, name="aux")

        def call(self, x, training=False):
            h = self.body(x)
            return self.head(h) + self.aux(h) if training else self.head(h)

    net = Net()
    net(np.ones((1, 6), "float32"), training=True)
    return net, "aux", (6,)


def with_unused_output(k):
    """A nested backbone of which one output is read."""
    L = k.layers
    i = k.Input((8, 8, 3))
    c3 = L.Conv2D(4, 3, name="c3")(i)
    backbone = k.Model(i, [c3, L.Conv2D(8, 3, name="c4")(c3)], name="backbone")
    o = k.Input((8, 8, 3))
    return k.Model(o, L.Conv2D(2, 1, name="seg")(backbone(o)[0])), "backbone/c4", (8, 8, 3)


def with_constant_layer(k):
    """A table made by a layer that no input reaches, as relative position biases are."""

    class Biased(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.table, self.product = k.layers.Dense(4, name="table"), k.layers.Dense(4, name="product")

        def build(self, shape):
            self.table.build((None, 2))
            self.product.build(shape)
            self.built = True

        def call(self, x):
            return self.product(x) + self.table(np.linspace(-1, 1, 4, dtype="float32").reshape(2, 2))[0]

    i = k.Input((6,))
    return k.Model(i, Biased(name="biased")(i)), "biased/table", (6,)


def with_uncalled_layer(k):
    """A layer that the network holds and never calls."""
    L = k.layers

    class Holder(L.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.used, self.spare = L.Dense(4, name="used"), L.Dense(4, name="spare")

        def build(self, shape):
            self.used.build(shape)
            self.spare.build(shape)
            self.built = True

        def call(self, x):
            return self.used(x)

    i = k.Input((6,))
    return k.Model(i, Holder(name="holder")(i)), "holder/spare", (6,)


CASES = [with_auxiliary_head, with_unused_output, with_constant_layer, with_uncalled_layer]


@pytest.mark.parametrize("make", CASES)
def test_an_idle_layer_is_noted_and_the_others_compute_in_int8(k, make, tmp_path):
    model, idle, shape = make(k)
    x = np.random.default_rng(0).random((16, *shape), dtype=np.float32)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    report = export(quantized, tmp_path / "net", engine=None, verbose=0)
    (note,) = [note for note in report.notes if "nothing is computed" in note]
    assert note.startswith("Of 1 quantised layers nothing is computed at inference, so the exported graph")
    assert f"leaves them out: {idle}." in note
    assert report.int8_mac_share == 1 and not report.float_layers
    assert idle not in report.int8_layers
    np.testing.assert_allclose(
        load(tmp_path / "net", verbose=0).predict(x, verbose=0), quantized(x, training=False), atol=0.02
    )


@pytest.mark.parametrize("make", CASES)
def test_the_float_model_has_the_same_idle_layer(k, make):
    model, idle, _ = make(k)
    traced = trace(model)
    assert idle in traced.layers and idle not in traced.computing


def test_a_layer_that_computes_still_needs_a_range(k, tmp_path):
    model, _, _ = with_auxiliary_head(k)
    with pytest.raises(ModelError, match="2 quantised layers have no activation range yet: body, head"):
        export(quantize_model(model, verbose=0), tmp_path / "net", engine=None, verbose=0)
    assert not list(tmp_path.iterdir())


def test_layers_in_a_loop_compute(k):
    x = k.Input((5, 3))
    model = k.Model(x, k.layers.RNN(k.layers.LSTMCell(4, name="cell"), name="rnn")(x))
    assert "rnn/cell" in trace(model, recurrent=()).computing
    assert "rnn/cell" in trace(model).computing  # as an operator
