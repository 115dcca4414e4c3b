"""A quantised model that learns from its own float self, from within `fit`."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.callbacks import Prune, Quantize
from keras_trt.errors import InputError
from keras_trt.models.report import report
from keras_trt.models.strip import strip
from keras_trt.quantize.inventory import inventory
from tests.nets import compiled, images, residual_net


def trained(k, epochs=4):
    x, y = images(256)
    model = compiled(k, residual_net(k))
    model.fit(x, y, epochs=epochs, verbose=0)
    return model, x, y


def difference(model, reference, x):
    return float(np.abs(model.predict(x, verbose=0) - reference).mean())


def test_it_learns_from_its_float_self_without_labels(k):
    model, x, _ = trained(k)
    floats = model.predict(x, verbose=0)
    model = strip(model)  # Keras 3 keeps the loss of an earlier `compile`
    model.compile(k.optimizers.Adam(1e-3))
    losses = model.fit(x, epochs=4, verbose=0, callbacks=[Quantize(distill=True, temperature=2.0)]).history
    assert losses["loss"][-1] < losses["loss"][0]
    assert {t.layer for t in inventory(model)}
    assert difference(model, floats, x) < 0.01


def test_it_adds_to_the_loss_of_the_user_and_only_while_it_trains(k):
    model, x, y = trained(k, 1)
    weighted = {}
    for weight in (0.0, 1.0, 1000.0):
        student = k.models.clone_model(model)
        student.set_weights(model.get_weights())
        student.compile(k.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        history = student.fit(
            x, y, validation_data=(x, y), verbose=0, callbacks=[Quantize(distill=weight)]
        ).history
        weighted[weight] = history["loss"][0], history["val_loss"][0]
    assert weighted[1000.0][0] > weighted[1.0][0] > weighted[0.0][0] - 1e-6
    assert weighted[1000.0][1] == pytest.approx(weighted[0.0][1], rel=1e-3)


class OwnStep:
    """Mixed into a model: a training step as the guides write it, or one that forgets `losses`."""

    forgets = False

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            if self.forgets:
                loss = tf.reduce_mean(tf.square(outputs - tf.one_hot(y, 4)))
            else:
                loss = self.compute_loss(y=y, y_pred=outputs)
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"total": loss}


def own_model(k, forgets):
    plain = residual_net(k)
    cls = type("OwnModel", (OwnStep, k.Model), {"forgets": forgets})
    return cls(plain.inputs, plain.outputs)


def test_a_training_step_of_ones_own_is_taught(k):
    x, y = images()
    losses = []
    for weight in (0, 1000):
        k.utils.set_random_seed(0)
        model = own_model(k, forgets=False)
        model.compile(k.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        history = model.fit(x, y, batch_size=64, verbose=0, callbacks=[Quantize(distill=weight)]).history
        losses.append(float(np.mean(history["total"])))
    assert losses[1] > losses[0] + 1e-3


def test_a_training_step_without_the_losses_is_named(k):
    x, y = images()
    model = own_model(k, forgets=True)
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.warns(
        UserWarning, match=r"OwnModel\) takes no gradient of `model.losses`.*sum\(self.losses\)"
    ):
        model.fit(x, y, verbose=0, callbacks=[Quantize(distill=True)])


def test_the_teacher_comes_with_quantisation_and_goes_with_training(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    taught = []

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            taught.append("call" in vars(self.model))

    quantize = Quantize(start_epoch=1, distill=True)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[quantize, Watch()])
    assert taught == [False, True]
    assert "call" not in vars(model)
    model.fit(x, y, epochs=2, initial_epoch=1, verbose=0, callbacks=[quantize, Watch()])
    assert taught == [False, True, True]


def test_a_training_that_breaks_off_leaves_no_teacher_to_the_next(k):
    x, y = images()
    model = compiled(k, residual_net(k))

    class Stop(k.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[Quantize(distill=1000.0), Stop()])
    assert "call" not in vars(k.models.clone_model(model))
    model.fit(x, y, verbose=0)
    assert "call" not in vars(model)


def test_what_copies_the_model_in_training_copies_no_teacher(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    copies = []

    class Copy(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            copies.append(strip(self.model))

    model.fit(x, y, verbose=0, callbacks=[Quantize(distill=True), Copy()])
    assert "call" not in vars(copies[0])


def test_it_works_beside_pruning_and_mixed_precision(k):
    x, y = images()
    policy = k.mixed_precision.global_policy() if hasattr(k.mixed_precision, "global_policy") else None
    before = policy or k.mixed_precision.dtype_policy()
    k.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = residual_net(k)
    finally:
        k.mixed_precision.set_global_policy(before)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    callbacks = [Quantize(distill=True), Prune(0.5, end_step=2, frequency=1)]
    losses = model.fit(x, y, epochs=3, verbose=0, callbacks=callbacks).history["loss"]
    assert np.isfinite(losses).all()
    assert "int8" in str(report(model))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"distill": -1.0}, "`distill` must be True, False or a weight of at least 0. Received: -1.0"),
        ({"distill": "yes"}, "`distill` must be True, False or a weight of at least 0. Received: 'yes'"),
        ({"distill": True, "temperature": 0}, "`temperature` must be a number above 0. Received: 0"),
        (
            {"distill": True, "temperature": float("nan")},
            "`temperature` must be a number above 0. Received: nan",
        ),
    ],
)
def test_a_wrong_weight_or_temperature_is_refused(arguments, text):
    with pytest.raises(InputError) as error:
        Quantize(**arguments)
    assert text in str(error.value)


def test_a_teacher_that_comes_with_the_only_batch_of_an_epoch_is_not_missed(k):
    x, y = images()
    layers = [k.layers.Flatten(), k.layers.Dense(8), k.layers.Dense(4, activation="softmax")]
    model = compiled(k, k.Sequential(layers))  # without weights until its first batch
    model.fit(x, y, batch_size=64, epochs=2, verbose=0, callbacks=[Quantize(distill=True)])
    assert "call" not in vars(model)
