"""A plan says what TensorRT does not import, layer by layer, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError
from tests.nets import images, residual_net
from tests.tensorrt_rules.test_importable import distinct_net


def cells(report):
    return {row["layer"]: row["TensorRT"] for row in report.rows if row["TensorRT"]}


def test_without_the_check_a_plan_shows_quantisation_alone(k):
    report = keras_trt.plan(residual_net(k), check_import=False)
    assert report.columns == ("layer", "kind", "inputs", "kernels", "scheme", "reason")
    assert report.notes == ()


def test_a_model_that_tensorrt_imports_has_no_obstacle(k):
    report = keras_trt.plan(residual_net(k))
    assert cells(report) == {}
    assert report.notes == ("TensorRT imports every operation of the model.",)
    assert [
        {**row, "TensorRT": ""} for row in keras_trt.plan(residual_net(k), check_import=False).rows
    ] == list(report.rows)


def test_an_operation_that_tensorrt_lacks_stands_beside_its_layer_with_what_to_do(k):
    report = keras_trt.plan(distinct_net(k))
    assert cells(report)["distinct"] == (
        "Unique: TensorRT has no such operator; write the layer with others, or run it outside the model"
    )
    assert report.notes == ("TensorRT cannot import 1 of the operations.",)
    assert "Unique" in str(report)


def lgamma_net(k):
    import tensorflow as tf

    class LogGamma(k.layers.Layer):
        def call(self, x):
            return tf.math.lgamma(x)

        def compute_output_shape(self, shape):
            return shape

    inner = k.Sequential([k.Input((8,)), LogGamma(name="log_gamma")], name="inner")
    x = k.Input((8,), name="x")
    return k.Model(x, k.layers.Dense(2, name="head")(inner(x)))


def test_an_operator_of_tensorflow_in_a_nested_model_is_named_by_its_path(k):
    found = cells(keras_trt.plan(lgamma_net(k)))
    assert list(found) == ["inner/log_gamma"]
    assert found["inner/log_gamma"].startswith("Lgamma: TensorRT has no such operator")


def test_a_doubt_is_told_from_a_refusal_and_inputs_are_looked_at(k):
    import tensorflow as tf

    class Counted(k.layers.Layer):
        def call(self, x):
            return tf.cumsum(x, axis=1)

        def compute_output_shape(self, shape):
            return shape

        def compute_output_spec(self, x):
            return k.KerasTensor(x.shape, x.dtype)

    steps = k.Input((4,), name="steps", dtype="int32")
    words = k.Input((2,), name="words", dtype="uint16")
    counted = Counted(name="counted", dtype="int32")(steps)
    model = k.Model([steps, words], [counted, k.layers.Embedding(9, 2, name="embedding")(words)])
    found = cells(keras_trt.plan(model))
    assert "CumSum: int32 is not among the types it is listed with" in found["counted"]
    assert "(some versions take it all the same)" in found["counted"]
    assert (
        "inputs of type uint16 are not supported; look words up, or cast, outside the model" in found["words"]
    )


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_quantised_model_may_be_planned_again_and_stays_as_it_was(k, calibrated):
    data = images()[0] if calibrated else None
    model = keras_trt.quantize_model(residual_net(k), calibration_data=data, verbose=0)
    before = [w.copy() for w in model.get_weights()]
    report = keras_trt.plan(model)
    assert report.notes == ("TensorRT imports every operation of the model.",)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shapes_that_the_operations_need_can_be_given(k):
    class Eye(k.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.linalg.matmul(x, tf.eye(tf.shape(x)[-1]))

        def compute_output_shape(self, shape):
            return shape

    x = k.Input((3, None), name="x")
    model = k.Model(x, Eye(name="eye")(x))
    assert list(cells(keras_trt.plan(model))) in (["eye"], [])
    assert cells(keras_trt.plan(model, input_shapes=(None, 3, 4))) == {}
    with pytest.raises(InputError, match="must have as many axes as input 'x'"):
        keras_trt.plan(model, input_shapes=(None, 5, 4))


def test_a_model_that_cannot_be_traced_keeps_its_plan_and_says_why(k):
    class Stubborn(k.layers.Layer):
        def call(self, x):
            import tensorflow as tf

            if not tf.executing_eagerly():
                raise TypeError("eager only")
            return x

        def compute_output_shape(self, shape):
            return shape

    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense, self.stubborn = k.layers.Dense(2, name="dense"), Stubborn(name="stubborn")

        def call(self, x):
            return self.stubborn(self.dense(x))

    model = Net()
    model(np.ones((1, 4), np.float32))
    report = keras_trt.plan(model, input_shapes=(None, 4))
    assert "dense" in {row["layer"] for row in report.rows}
    assert "Not checked for TensorRT: Model 'net' could not be traced" in report.notes[0]
    assert "eager only" in report.notes[0]


def test_a_model_whose_inputs_are_not_known_keeps_its_plan_too(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.dense = k.layers.Dense(2, name="dense")
            self.dense.build((None, 4))
            self.built = True

        def call(self, x):
            return self.dense(x)

    assert "never called" in keras_trt.plan(Net()).notes[0]
    assert "TensorRT imports every" in keras_trt.plan(Net(), input_shapes=(None, 4)).notes[0]
