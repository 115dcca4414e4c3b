"""Variables of a package's own class stay of that class: what they are read as is part of the model."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of


def wrapped(value):
    import tensorflow as tf

    class Signs(tf.Variable):
        """Holds numbers, is read as their signs; packages of binary networks have such."""

        def __init__(self, inner):
            self.inner = inner

        def value(self):
            return tf.sign(self.inner.value())

        shape = property(lambda self: self.inner.shape)
        dtype = property(lambda self: self.inner.dtype)
        name = property(lambda self: self.inner.name)
        trainable = property(lambda self: self.inner.trainable)
        aggregation = property(lambda self: self.inner.aggregation)

    return Signs(tf.Variable(value, name="signs"))


def derived(value):
    import tensorflow as tf
    from tensorflow.python.ops.resource_variable_ops import ResourceVariable

    class Halves(ResourceVariable):
        def value(self):
            return super().value() / self.by

    plain = tf.Variable(value, name="halves")
    plain.__class__ = Halves
    plain.by = 2.0
    return plain


@pytest.mark.parametrize("make", [wrapped, derived])
def test_a_variable_that_is_read_as_something_else_is_copied_as_that(k, make):
    class Scale(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.held = [make(np.float32([4.0, -3.0, 0.5]))]

        def call(self, x):
            return x * self.held[0].value()

    inputs = k.Input((3,))
    model = k.Model(inputs, Scale(name="scale")(inputs))
    copy = flavor_of(model).clone(model)
    old, new = (m.get_layer("scale").held[0] for m in (model, copy))
    assert type(new) is type(old)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(copy(x), model(x))
    getattr(old, "inner", old).assign(np.zeros(3, np.float32))
    assert np.all(np.asarray(new.value()) != 0)  # nothing is shared
