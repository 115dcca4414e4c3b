"""Updates of variables go where no output depends on them, and stay where one does."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.exporting.export import export
from keras_trt.trace.rewrites.state import UPDATES
from keras_trt.trace.trace import trace
from tests.nets import masked_convolution


def ops(model):
    return {node.op for node in trace(model).graph_def.node}


@pytest.mark.parametrize("name", ["RandomGrayscale", "RandomHue", "MixUp"])
def test_the_counter_of_a_random_layer_leaves_no_trace(name):
    import keras

    layer = getattr(keras.layers, name)(**({} if name == "MixUp" else {"factor": 0.2}))
    assert ops(keras.Sequential([keras.Input((8, 8, 3)), layer])) <= {"Placeholder", "Identity"}


def test_a_state_that_outputs_are_computed_from_stays(k):
    x = k.Input((6, 4), batch_size=2)
    assert ops(k.Model(x, k.layers.LSTM(3, stateful=True)(x))) & set(UPDATES)


@pytest.mark.parametrize("was_called", [True, False])
def test_a_kernel_that_every_call_masks_alike_is_a_constant(k, was_called, rng, tmp_path):
    x = k.Input((6, 6, 2))
    model = k.Model(x, masked_convolution(k)(x))
    weights = model.get_weights()
    if was_called:
        model(rng.normal(size=(2, 6, 6, 2)).astype("float32"))
    (kernel,) = [w for w in trace(model).weights.values() if w.ndim == 4]
    np.testing.assert_array_equal(kernel[:2], weights[0][:2])
    assert not kernel[2:].any() and weights[0][2:].all()
    assert export(model, tmp_path / "net", engine=None, verbose=0).differences[0]["relative"] < 1e-5


def test_a_count_beside_the_outputs_goes(k):
    class Counting(k.layers.Layer):
        def build(self, shape):
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")
            self.built = True

        def call(self, x):
            self.calls.assign(self.calls + 1.0)
            return x * 2.0

        def compute_output_shape(self, shape):
            return shape

    x = k.Input((4,))
    assert not ops(k.Model(x, Counting()(x))) & set(UPDATES)
