"""An output's first axis is called `batch` when it is, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import load
from keras_trt.exporting.export import export
from keras_trt.trace.trace import trace
from tests.onnx_tools import floats


def layer(k, function, **options):
    class Custom(k.layers.Layer):
        def call(self, x):
            return function(x)

        def compute_output_spec(self, x):
            return k.KerasTensor((None, 5), x.dtype)

    return Custom(**options)


def flat(x):
    import tensorflow as tf

    return tf.reshape(x, (-1, 5))


def kept(x):
    import tensorflow as tf

    return tf.gather_nd(x, tf.where(x > 0)[:, :2])


def swapped(x):
    import tensorflow as tf

    return tf.transpose(x, (1, 0, 2))


def there_and_back(x):
    import tensorflow as tf

    return tf.reshape(tf.reshape(x, (-1, 5)) * 2, (tf.shape(x)[0], -1, 5))


def halves(x):
    import tensorflow as tf

    return x[: tf.shape(x)[0] // 2]


def mapped(x):
    import tensorflow as tf

    return tf.map_fn(tf.nn.softmax, x)


def first_axis(k, function, steps=6):
    x = k.Input((steps, 5), name="x")
    return trace(k.Model(x, layer(k, function, name="y")(x))).outputs[0].shape[0]


@pytest.mark.parametrize("steps", [6, None])
@pytest.mark.parametrize("function", [flat, kept, halves])
def test_an_axis_of_another_size_than_the_batch_has_a_name_of_its_own(k, function, steps):
    assert first_axis(k, function, steps) == "y_axis_0"


@pytest.mark.parametrize("function", [there_and_back, mapped])
def test_the_batch_is_found_behind_reshapes_and_loops(k, function):
    assert first_axis(k, function) == "batch"


def test_time_in_front_is_not_the_batch(k):
    assert first_axis(k, swapped, None) == "y_axis_0"


def test_recurrent_layers_whose_loop_hides_the_batch_are_traced_again(k):
    x = k.Input((None, 3), name="x")
    masked = k.layers.Masking()(x)
    outputs = [k.layers.GRU(2, return_sequences=True, name="seq")(masked), k.layers.LSTM(2, name="last")(x)]
    assert [o.shape[0] for o in trace(k.Model(x, outputs)).outputs] == ["batch", "batch"]


def test_a_fixed_batch_stays_fixed(k):
    x = k.Input((6, 5), name="x")
    traced = trace(k.Model(x, layer(k, flat, name="y")(x)), (4, 6, 5))
    assert traced.outputs[0].shape == (24, 5)


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
def test_predict_gives_what_keras_gives_over_several_batches(k, runner, tmp_path):
    x = k.Input((6, 5), name="x")
    h = k.layers.Dense(5, name="dense")(x)
    net = k.Model(x, [layer(k, flat, name="flat")(h), h])
    export(net, tmp_path / "net", engine=None, verbose=0)
    data = floats(10, 6, 5)
    found = load(tmp_path / "net", runner, verbose=0).predict(data, batch_size=4, verbose=0)
    wanted = net.predict(data, batch_size=4, verbose=0)
    assert found[0].shape == (60, 5)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
