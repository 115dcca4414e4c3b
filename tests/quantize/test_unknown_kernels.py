"""Layers with weights that no rule knows are named, with what they cost and the line that changes it."""

from __future__ import annotations

import numpy as np

from keras_trt import register_layer
from keras_trt.exporting.export import export
from keras_trt.models.report import report
from keras_trt.quantize import quantize_model

X = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)


def net(k):
    class Cross(k.layers.Layer):
        """x0 * (x W) + x, as recommenders cross features."""

        def build(self, shape):
            self.mix = self.add_weight(name="mix", shape=(shape[-1], shape[-1]))
            self.bias = self.add_weight(name="bias", shape=(shape[-1],))
            self.built = True

        def call(self, x):
            return (
                x * (k.backend.dot(x, self.mix) if hasattr(k.backend, "dot") else k.ops.dot(x, self.mix)) + x
            )

    k.utils.set_random_seed(0)
    inputs = k.Input((16,))
    return k.Model(inputs, k.layers.Dense(16, name="head")(Cross(name="cross")(inputs))), Cross


def reason(model):
    return next(row["reason"] for row in report(model).rows if row["layer"] == "cross")


def test_the_line_that_is_printed_makes_the_layer_compute_in_int8(k, tmp_path):
    model, cls = net(k)
    quantized = quantize_model(model, calibration_data=X, verbose=0)
    line = "keras_trt.register_layer(Cross, kernels=['mix'])"
    assert reason(quantized) == f"no rule knows its weights; if it multiplies by them: {line}"
    found = export(quantized, tmp_path / "float", engine=None, verbose=0)
    assert (
        "Layer 'cross' computes 50.0% of the multiply-accumulates in float: no rule knows its weights. "
        f"Before `quantize_model`: {line}" in found.notes
    )
    register_layer(cls, kernels=["mix"])
    quantized = quantize_model(model, calibration_data=X, verbose=0)
    found = export(quantized, tmp_path / "int8", engine=None, verbose=0)
    assert found.int8_mac_share == 1.0
    assert not any("no rule knows" in note for note in found.notes)


def test_a_float_export_and_layers_of_keras_are_not_reproached(k, tmp_path):
    model, _ = net(k)
    assert not any("no rule knows" in note for note in export(model, tmp_path / "net", verbose=0).notes)
    inputs = k.Input((4, 4, 3))
    plain = k.Model(inputs, k.layers.PReLU(name="cross")(k.layers.Conv2D(4, 1)(inputs)))
    assert "register_layer" not in reason(quantize_model(plain))


def test_products_of_two_activations_beside_a_table_are_not_the_work_of_weights(k, tmp_path):
    """Attention whose only own variable is a position bias: nothing is to be registered."""
    import tensorflow as tf

    class Attention(k.layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(name="table", shape=(shape[1], shape[1]))
            self.built = True

        def call(self, x):
            return tf.matmul(tf.matmul(x, x, transpose_b=True) + self.table, x)

    class Mixing(Attention):
        def call(self, x):
            return tf.matmul(self.table, x)

    for cls, named in ((Attention, False), (Mixing, True)):
        inputs = k.Input((4, 16))
        outputs = k.layers.Dense(16, name="head")(cls(name="cross")(inputs))
        quantized = quantize_model(k.Model(inputs, outputs), calibration_data=X.reshape(-1, 4, 16), verbose=0)
        found = export(quantized, tmp_path / cls.__name__, engine=None, verbose=0)
        assert any("no rule knows" in note for note in found.notes) == named


def test_a_registered_layer_that_multiplies_what_it_computes_is_named(k, tmp_path):
    import tensorflow as tf

    class Plain(k.layers.Layer):
        def build(self, shape):
            self.mix = self.add_weight(name="mix", shape=(shape[-1], 16))
            self.built = True

        def call(self, x):
            return tf.matmul(x, self.mix)

    class Scaled(Plain):
        def call(self, x):
            return tf.matmul(tf.tanh(x) * 2.0, self.mix)

    register_layer(Plain, kernels=["mix"])
    for cls, scheme, named in (
        (Plain, "int8", False),
        (Scaled, "int8", True),
        (Scaled, "int8-weights", False),
    ):
        inputs = k.Input((16,))
        net = k.Model(inputs, k.layers.Dense(16, name="head")(cls(name="cross")(inputs)))
        quantized = quantize_model(net, scheme, calibration_data=X, recover=None, verbose=0)
        found = export(quantized, tmp_path / "net", engine=None, overwrite=True, verbose=0)
        line = "Layer 'cross' computes 50.0% of the multiply-accumulates in float though its weights ('mix')"
        assert any(note.startswith(line) for note in found.notes) == named
