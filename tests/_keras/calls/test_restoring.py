"""What a trace on the side leaves in a model's layers is taken out again."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf

import keras_trt
from keras_trt._keras.calls.restoring import restoring
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._machine.process import attributes_replaced


@pytest.fixture
def model(k):
    class Keeping(k.layers.Dense):
        def call(self, x):
            y = super().call(x)
            self.add_loss(tf.reduce_sum(y**2))
            self.last = y
            return y

    class Outer(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = Keeping(16, name="inner")

        def build(self, shape):
            self.inner.build(shape)

        def call(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            return self.inner(x)

    i = k.Input((16,))
    made = k.Model(i, k.layers.Dense(16)(Outer(name="outer")(Keeping(16, name="first")(i))))
    made(np.ones((2, 16), "float32"))
    return made


def kept(model):
    """What calls leave in the layers, by identity."""
    first, outer = model.get_layer("first"), model.get_layer("outer")
    tensors = [*model.losses, first.last, outer.inner.last]
    return list(map(id, tensors)), tensors, outer.calls


@pytest.mark.parametrize("check_import", [True, False])
def test_plan_leaves_losses_and_attributes_as_they_were(model, check_import):
    before = kept(model)
    keras_trt.plan(model, check_import=check_import)
    after = kept(model)
    assert (after[0], after[2]) == (before[0], before[2])


def test_after_an_error_too_and_what_was_not_there_is_gone(model):
    first, before = model.get_layer("first"), kept(model)
    with pytest.raises(RuntimeError), restoring(flavor_of(model), model):
        first.new = 1
        model(np.zeros((2, 16), "float32"))
        assert kept(model)[0] != before[0]
        raise RuntimeError
    after = kept(model)
    assert (after[0], after[2]) == (before[0], before[2])
    assert not hasattr(first, "new")


def test_what_another_thread_has_changed_for_a_while_is_not_taken_for_the_layers_own(model):
    """A plan beside an export of the same model: the export has other `call`s in the layers meanwhile."""
    layer, flavor = model.get_layer("first"), flavor_of(model)

    def plan():
        with restoring(flavor, model):
            pass

    thread = threading.Thread(target=plan)
    with attributes_replaced() as replace:
        replace(layer, "call", lambda x: x)
        thread.start()
        thread.join(0.2)  # for as long as this thread exports, that one waits
        assert thread.is_alive()
    thread.join()
    assert "call" not in vars(layer)
