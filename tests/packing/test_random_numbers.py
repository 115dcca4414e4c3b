"""Layers that draw random numbers at inference, too, are named at export."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir
import pytest

from keras_trt.exporting.export import export
from keras_trt.packing.random_numbers import random_numbers

NOTE = "draws random numbers at inference, too ("


def always(k, inner):
    class Always(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = inner

        def call(self, x):
            return self.inner(x, training=True)

    return Always(name="always")


def noise(k):
    return always(k, k.layers.GaussianNoise(0.5, name="noise")), "always/noise"


def dropout(k):
    return always(k, k.layers.Dropout(0.5, name="noise")), "always/noise"


def own(k):
    import tensorflow as tf

    class Own(k.layers.Layer):
        def call(self, x):
            draw = k.random.normal if k.__name__ == "keras" else tf.random.normal
            return x + draw((4,)) + draw((4,))

    return Own(name="noise"), "noise"


@pytest.mark.parametrize("make", [noise, dropout, own])
def test_the_layer_is_named_once(k, make, tmp_path):
    layer, path = make(k)
    inputs = k.Input((4,))
    outputs = k.layers.Dense(2, name="head")(layer(inputs))
    report = export(k.Model(inputs, outputs), tmp_path / "net", engine=None, verify=False, verbose=0)
    (note,) = (note for note in report.notes if NOTE in note)
    assert note.startswith(f"Layer {path!r} draws random numbers at inference, too (Random")
    assert "its answers differ from call to call" in note


def test_layers_that_draw_in_training_alone_are_not_named(k, tmp_path):
    model = k.Sequential([k.Input((4,)), k.layers.GaussianNoise(0.5), k.layers.Dense(2)])
    assert not any(NOTE in n for n in export(model, tmp_path / "net", engine=None, verbose=0).notes)


def test_a_branch_is_looked_into():
    text = """<ir_version: 9, opset_import: ["" : 17]> g (float[2] x, bool b) => (float[2] y) {
        y = If (b) <
            then_branch = t () => (float[2] z) { z = RandomNormalLike (x) },
            else_branch = e () => (float[2] w) { w = Identity (x) }>
    }"""
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    next(iter(model.graph)).name = "block/choose/If"
    (note,) = random_numbers(model, ["block", "block/choose"])
    assert note.startswith("Layer 'block/choose' draws random numbers at inference, too (RandomNormalLike)")
