"""An optimizer that has been built takes in new weights and forgets nothing."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.rebuilding.optimizer import take_in_new_weights
from keras_trt.errors import ModelError

MAKERS = {
    "SGD": {"momentum": 0.9},
    "Adam": {"amsgrad": True},
    "AdamW": {"use_ema": True},
    "Adafactor": {},
    "Nadam": {},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Ftrl": {},
    "Lion": {},
    "Adagrad": {"clipnorm": 1.0},
    "Adadelta": {},
    "Adamax": {},
    "Muon": {},
    "Lamb": {},
}


def net(k, new=False):
    """Two layers; `new` weights stand between theirs."""

    class Scaled(k.layers.Dense):
        def build(self, shape):
            super().build(shape)
            if new:
                self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

        def call(self, x):
            return super().call(x) * (self.scale if new else 1.0)

    model = k.Sequential([k.Input((6,)), Scaled(4, name="a"), k.layers.Dense(2, name="b")])
    for layer in model.layers:
        layer.kernel.assign(
            np.linspace(-1, 1, layer.kernel.shape[0] * layer.kernel.shape[1]).reshape(layer.kernel.shape)
        )
    return model


def grow(model):
    """Gives a model a weight between the others."""
    layer = model.get_layer("a")
    with flavor_of(model).unlocked(layer):
        layer.scale = layer.add_weight(name="scale", shape=(), initializer="ones")
    type(layer).call = lambda self, x: type(self).__mro__[1].call(self, x) * self.scale


def step(model, optimizer, seed):
    import tensorflow as tf

    x = np.random.default_rng(seed).normal(size=(8, 6)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - 1.0))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def values(model):
    return {v.path if hasattr(v, "path") else v.name: v.numpy() for v in model.trainable_variables}


@pytest.mark.parametrize("name", MAKERS)
def test_state_goes_on_as_if_the_weight_had_been_there(k, name):
    maker = getattr(k.optimizers, name, None)
    if maker is None:
        pytest.skip(f"no {name} in this Keras")
    model, optimizer = net(k), maker(learning_rate=0.05, **MAKERS[name])
    model.compile(optimizer, "mse")
    for seed in range(3):
        step(model, optimizer, seed)
    grow(model)
    with pytest.raises((KeyError, ValueError, IndexError)):
        step(model, optimizer, 3)
    before = {id(v): v.numpy() for v in optimizer.variables}
    iterations, rate = int(optimizer.iterations.numpy()), optimizer.learning_rate
    take_in_new_weights(flavor_of(model), model)
    after = [v.numpy() for v in optimizer.variables]
    pool = list(after)
    for value in before.values():  # nothing is lost, each as often as it was
        i = next(
            i for i, other in enumerate(pool) if other.shape == value.shape and np.array_equal(other, value)
        )
        pool.pop(i)
    assert int(optimizer.iterations.numpy()) == iterations
    assert optimizer.learning_rate is rate
    assert all(each.shape in ((), (1,)) for each in pool)  # what is new is of the new weight alone
    scale = model.get_layer("a").scale.numpy()
    step(model, optimizer, 3)
    assert model.get_layer("a").scale.numpy() != scale
    take_in_new_weights(flavor_of(model), model)  # nothing to do
    assert len(optimizer.variables) == len(after)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adafactor"])
def test_the_other_weights_move_as_without_it(k, name):
    """The new weight stays 1 in both: the others are trained alike, with their moments."""
    results = []
    for grows in (False, True):
        model = net(k)
        optimizer = getattr(k.optimizers, name)(learning_rate=0.05, **MAKERS[name])
        model.compile(optimizer, "mse")
        for seed in range(6):
            if grows and seed == 3:
                grow(model)
                take_in_new_weights(flavor_of(model), model)
            step(model, optimizer, seed)
            if grows and seed >= 3:
                model.get_layer("a").scale.assign(1.0)
        results.append({name: value for name, value in values(model).items() if "scale" not in name})
    for a, b in zip(*(each.values() for each in results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_scaled_loss_is_taken_along(k):
    inner = k.optimizers.Adam(0.05)
    scaled = getattr(k.optimizers, "LossScaleOptimizer", None) or k.mixed_precision.LossScaleOptimizer
    optimizer = scaled(inner)
    model = net(k)
    model.compile(optimizer, "mse")
    x, y = np.ones((8, 6), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, verbose=0)
    moments = [v.numpy() for v in inner.variables]
    grow(model)
    take_in_new_weights(flavor_of(model), model)
    assert len(inner.variables) == len(moments) + 2
    model.make_train_function(force=True)
    model.fit(x, y, epochs=3, verbose=0)
    assert model.get_layer("a").scale.numpy() != 1


def test_legacy_optimizers_make_slots_as_weights_come():
    import tf_keras as k

    model = net(k)
    model.compile(k.optimizers.legacy.Adam(0.05), "mse")
    x, y = np.ones((8, 6), "float32"), np.ones((8, 2), "float32")
    model.fit(x, y, verbose=0)
    grow(model)
    take_in_new_weights(flavor_of(model), model)
    model.make_train_function(force=True)
    model.fit(x, y, verbose=0)
    assert model.get_layer("a").scale.numpy() != 1


def test_state_kept_in_another_way_is_refused_and_left_alone(k):
    class Odd(k.optimizers.SGD):
        def build(self, variables):
            if getattr(self, "_built", False) or getattr(self, "built", False) is True:
                return
            super().build(variables)
            self.odd = {"all": tuple(self.add_variable_from_reference(v, "odd") for v in variables)}

    model = net(k)
    optimizer = Odd(0.05, momentum=0.9)
    model.compile(optimizer, "mse")
    step(model, optimizer, 0)
    before = [v.numpy() for v in optimizer.variables]
    parts = list(model.trainable_variables)
    grow(model)
    with pytest.raises(ModelError, match="optimizer Odd does not take.*before `compile`"):
        take_in_new_weights(flavor_of(model), model)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, optimizer.variables, strict=True))
    optimizer.apply_gradients([(np.ones(v.shape, "float32"), v) for v in parts])
