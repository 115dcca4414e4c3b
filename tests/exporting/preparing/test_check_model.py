"""A model that cannot leave is refused before its export, with the layer's name."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.errors import ExportError, ModelError
from keras_trt.exporting.export import export
from keras_trt.exporting.preparing.check_model import check_weights, own_prediction
from keras_trt.quantize import quantize_model
from tests.nets import residual_net


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(k, bad):
    model = residual_net(k)
    flavor = flavor_of(model)
    check_weights(flavor, model)
    bias = model.get_layer("strided").bias
    bias.assign([bad] + [0.0] * 7)
    with pytest.raises(ModelError, match="Layer 'strided': weight .*bias.* holds 1 values"):
        check_weights(flavor, model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_quantised_weights_that_cannot_hold_the_grid_are_refused(dtype, tmp_path):
    """Of tf_keras: Keras 3 casts such weights, and `trace.layers.policies` has it do so."""
    import tf_keras as k

    inputs = k.Input((4,), dtype=dtype)
    model = quantize_model(
        k.Model(inputs, k.layers.Dense(2, name="head", dtype=dtype)(inputs)), "int8-weights"
    )
    with pytest.raises(ModelError, match=f"layer 'head' with {dtype} weights.*'mixed_{dtype}'"):
        export(model, tmp_path / "m.bundle", engine=None, verbose=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantized", [False, True])
def test_layers_in_float64_are_refused_by_name(k, quantized, tmp_path):
    x = k.Input((8, 8, 3), dtype="float64")
    y = k.layers.BatchNormalization(dtype="float64")(k.layers.Conv2D(4, 3, dtype="float64", name="wide")(x))
    precision = {"precision": "int8", "calibration_data": np.ones((2, 8, 8, 3))} if quantized else {}
    with pytest.raises(ModelError, match="does not compute in float64.*wide.*dtype 'float32'"):
        export(k.Model(x, y), tmp_path / "net", engine=None, verbose=0, **precision)


def test_a_tf_keras_model_of_bfloat16_weights_is_refused_by_name(tmp_path):
    import tf_keras as k

    x = k.Input((4,))
    model = k.Model(x, k.layers.Dense(2, name="head", dtype="bfloat16")(x))
    with pytest.raises(ModelError, match="layer 'head' with bfloat16 weights.*'mixed_bfloat16'"):
        export(model, tmp_path / "net", engine=None, verbose=0)
    assert not list(tmp_path.iterdir())


def test_inputs_in_bfloat16_are_refused_by_name(k, tmp_path):
    x = k.Input((4,), dtype="bfloat16", name="x")
    with pytest.raises(ModelError, match="bfloat16"):
        export(k.Model(x, k.layers.Dense(2)(x)), tmp_path / "net", engine=None, verbose=0)


@pytest.mark.parametrize(
    ("name", "advice"), [("switch", "keras.ops.switch"), ("loop", "'loop'.*keras.ops.scan")]
)
def test_control_flow_that_onnx_cannot_take_is_refused_with_a_way_out(k, name, advice, tmp_path):
    import tensorflow as tf

    def switch(x):
        branches = [lambda: tf.abs(x), lambda: -x, lambda: tf.square(x)]
        return tf.switch_case(tf.cast(tf.reduce_sum(x) > 0, tf.int32), branches)

    def loop(x):  # a state in a list
        state = tf.TensorArray(tf.float32, 1, clear_after_read=False).write(0, x)
        _, state = tf.while_loop(
            lambda i, _: i < 3, lambda i, s: (i + 1, s.write(0, tf.tanh(s.read(0)))), (0, state)
        )
        return state.read(0)

    layer = k.layers.Lambda({"switch": switch, "loop": loop}[name], output_shape=(4,), name=name)
    with pytest.raises(ExportError, match=advice):
        export(k.Sequential([k.Input((4,)), layer]), tmp_path / "net", engine=None, verbose=0)


@pytest.mark.parametrize("name", ["predict_step", "predict", "make_predict_function"])
def test_a_prediction_of_its_own_is_noted(k, name, tmp_path):
    def own(self, *args, **options):
        return getattr(k.Model, name)(self, *args, **options)

    clipping, x = type("Clipping", (k.Model,), {name: own}), k.Input((4,))
    y = k.layers.Dense(3)(x)
    model = quantize_model(clipping(x, y), "int8-weights", verbose=0)
    (note,) = own_prediction(flavor_of(model), model)
    assert note.startswith(f"`Clipping.{name}` is not Keras's own: the engine returns what a call")
    assert not own_prediction(flavor_of(model), k.Model(x, y))
    if name == "predict_step":
        assert note in export(model, tmp_path / "net", engine=None, verbose=0).notes
