"""`callbacks.Quantize`: a plain model becomes a quantised one while it trains."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt.callbacks.quantize import Quantize
from keras_trt.errors import InputError
from keras_trt.models.load_model import load_model
from keras_trt.models.report import report
from keras_trt.models.save_model import save_model
from keras_trt.quantize import quantize_model
from keras_trt.quantize.inventory import inventory
from tests.nets import compiled, images, ranges, residual_net


def subclassed(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__(name="net")
            self.conv = k.layers.Conv2D(8, 3, activation="relu", name="conv")
            self.pool = k.layers.GlobalAveragePooling2D(name="pool")
            self.head = k.layers.Dense(4, activation="softmax", name="head")

        def call(self, x, training=False):
            return self.head(self.pool(self.conv(x)))

    model = Net()
    model(images(1)[0])
    return model


@pytest.mark.parametrize("make", [residual_net, subclassed])
@pytest.mark.parametrize("jit", ["auto", True, False])
def test_a_plain_model_is_quantised_in_place(k, make, jit):
    x, y = images()
    model = make(k)
    jit = {"auto": "auto" if k.__name__ == "keras" else None}.get(jit, jit)
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=jit)
    losses = model.fit(x, y, epochs=3, verbose=0, callbacks=[Quantize()]).history["loss"]
    assert losses[-1] < losses[0]
    assert min(ranges(model)) > 0


def test_it_quantises_what_quantize_model_does(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    model.fit(x, y, verbose=0, callbacks=[Quantize()])
    theirs = {t.layer for t in inventory(quantize_model(residual_net(k)))}
    assert {t.layer for t in inventory(model)} == theirs


def test_training_is_float_before_the_start_epoch_and_the_optimizer_goes_on(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    seen = []

    class Watch(k.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(len({t.layer for t in inventory(self.model)}))

    model.fit(x, y, epochs=3, verbose=0, callbacks=[Quantize(start_epoch=2), Watch()])
    assert seen == [0, 0, 7]
    assert int(np.asarray(model.optimizer.iterations)) == 6


def test_a_model_trained_before_is_retraced(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    model.fit(x, y, verbose=0)
    before = model.predict(x, verbose=0)
    model.fit(x, y, verbose=0, callbacks=[Quantize()])
    assert min(ranges(model)) > 0
    assert not np.array_equal(before, model.predict(x, verbose=0))


def test_ranges_stand_still_from_their_epoch_on(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    per_epoch = []

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            per_epoch.append(ranges(self.model))

    model.fit(x, y, epochs=4, verbose=0, callbacks=[Quantize(freeze_ranges_epoch=2), Watch()])
    assert per_epoch[0] != per_epoch[1]
    assert per_epoch[1] == per_epoch[2] == per_epoch[3]


def test_batch_normalisation_stands_still_from_its_epoch_on(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    means = []

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            bn = self.model.get_layer("stem_bn")
            means.append((bn.moving_mean.numpy(), bn.gamma.numpy()))

    model.fit(x, y, epochs=3, verbose=0, callbacks=[Quantize(freeze_batchnorm_epoch=1), Watch()])
    assert np.array_equal(means[0][0], means[1][0])
    assert not np.array_equal(means[0][1], means[1][1])  # gamma still learns
    model.fit(x, y, verbose=0)
    assert not np.array_equal(means[2][0], model.get_layer("stem_bn").moving_mean.numpy())


def test_mixed_precision_trains(k):
    k.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = compiled(k, residual_net(k))
    finally:
        k.mixed_precision.set_global_policy("float32")
    x, y = images()
    assert np.isfinite(model.fit(x, y, verbose=0, callbacks=[Quantize()]).history["loss"]).all()
    assert 0 < min(ranges(model)) <= max(ranges(model)) < np.inf


def test_a_custom_train_step_sees_the_quantised_model(k):
    import tensorflow as tf

    base = residual_net(k)

    class Custom(k.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(k.losses.sparse_categorical_crossentropy(y, self(x, training=True)))
            grads = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(grads, self.trainable_variables, strict=True))
            return {"loss": loss}

    model = Custom(base.inputs, base.outputs)
    model.compile("adam")
    x, y = images()
    model.fit(x, y, verbose=0, callbacks=[Quantize()])
    assert min(ranges(model)) > 0


def test_a_hand_written_loop_needs_one_call(k):
    import tensorflow as tf

    model, optimizer = residual_net(k), k.optimizers.SGD(0.05)
    Quantize().set_model(model)
    x, y = images()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(k.losses.sparse_categorical_crossentropy(y, model(x, training=True)))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    losses = [float(step(x, y)) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert min(ranges(model)) > 0


def test_the_result_is_saved_and_loaded(k, tmp_path):
    x, y = images()
    model = compiled(k, residual_net(k))
    model.fit(x, y, verbose=0, callbacks=[Quantize(freeze_batchnorm_epoch=0)])
    save_model(model, tmp_path / "m.keras")
    assert np.array_equal(load_model(tmp_path / "m.keras").predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_checkpoint_written_while_batch_normalisation_stands_still_loads(k, tmp_path):
    x, y = images()
    model = compiled(k, residual_net(k))
    save = k.callbacks.ModelCheckpoint(str(tmp_path / "m.keras"))
    model.fit(x, y, verbose=0, callbacks=[Quantize(freeze_batchnorm_epoch=0), save])
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert isinstance(loaded.get_layer("stem_bn"), k.layers.BatchNormalization)


def test_subclassed_models_report_what_could_not_be_seen(k):
    model = compiled(k, subclassed(k))
    model.fit(*images(), verbose=0, callbacks=[Quantize()])
    rows = {row["layer"]: row for row in report(model).rows}
    assert {path for path, row in rows.items() if row["quantised"]} == {"conv", "pool", "head"}


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("start", [0, 1])
def test_a_model_that_its_first_batch_builds_is_quantised(k, batches, start):
    x, y = images()
    model = compiled(k, k.Sequential([k.layers.Flatten(), k.layers.Dense(8), k.layers.Dense(4)]))
    assert not model.built
    callback = Quantize(start_epoch=start, freeze_ranges_epoch=5)
    model.fit(x, y, batch_size=64 // batches, epochs=start + 1, verbose=0, callbacks=[callback])
    assert len(inventory(model)) == 4
    if (batches, start) != (1, 0):  # else the only step was in float
        assert min(ranges(model)) > 0
    model.fit(x, y, verbose=0, callbacks=[callback])
    assert min(ranges(model)) > 0


@pytest.mark.parametrize("start", [0, 1])
def test_one_callback_quantises_several_models_in_turn(k, start):
    x, y = images()
    callback = Quantize(start_epoch=start)
    for _ in range(2):
        model = compiled(k, residual_net(k))
        model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        assert min(ranges(model)) > 0


def test_training_that_resumes_behind_the_epochs_follows_them(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    model.fit(x, y, verbose=0)
    before = model.get_layer("stem_bn").moving_mean.numpy()
    callback = Quantize(start_epoch=1, freeze_batchnorm_epoch=2)
    model.fit(x, y, initial_epoch=3, epochs=4, verbose=0, callbacks=[callback])
    assert np.array_equal(before, model.get_layer("stem_bn").moving_mean.numpy())
    assert min(ranges(model)) > 0


def test_wrong_arguments_are_refused():
    with pytest.raises(InputError, match="counts epochs from 0.*start_epoch=-1"):
        Quantize(start_epoch=-1)
    with pytest.raises(InputError, match="counts epochs from 0.*freeze_batchnorm_epoch=1.5"):
        Quantize(freeze_batchnorm_epoch=1.5)
    with pytest.raises(InputError, match="one of"):
        Quantize(scheme="int9")
