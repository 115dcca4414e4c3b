"""`callbacks.Quantize` with ranges that are trained by gradient."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_trt.callbacks.quantize import Quantize
from keras_trt.errors import InputError
from keras_trt.models.load_model import load_model
from keras_trt.models.save_model import save_model
from keras_trt.placement.schemes import Int8
from keras_trt.quantize import quantize_model
from keras_trt.twins.twins import is_twin, set_silent
from tests.nets import compiled, images, ranges, residual_net

LEARNED = Int8(learned_ranges=True)


def small(k):
    model = k.Sequential(
        [
            k.Input((8, 8, 3)),
            k.layers.Conv2D(8, 3, activation="relu", name="conv"),
            k.layers.Conv2D(4, 3, name="second"),
            k.layers.GlobalAveragePooling2D(),
            k.layers.Dense(4, activation="softmax", name="head"),
        ]
    )
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    return model


def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 32)


def test_ranges_are_trained_and_the_optimizer_goes_on(k):
    x, y = images()
    model = compiled(k, residual_net(k))
    model.fit(x, y, epochs=1, verbose=0)
    optimizer, done = model.optimizer, int(model.optimizer.iterations.numpy())
    callback = Quantize(scheme=LEARNED, calibration_data=x[:32])
    seen = []

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(ranges(self.model))

    model.fit(x, y, epochs=3, verbose=0, callbacks=[callback, Watch()])
    assert model.optimizer is optimizer
    assert int(optimizer.iterations.numpy()) == 4 * done
    assert all(a != b for a, b in zip(seen[0], seen[2], strict=True))
    assert min(seen[2]) > 0
    assert sum("amax" in getattr(w, "path", w.name) for w in model.trainable_weights) == len(seen[0])


def test_ranges_begin_with_the_first_batch_and_after_float_epochs(k):
    x, y = rows()
    model, seen = small(k), []

    class Watch(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(ranges(self.model))

    callback = Quantize(start_epoch=1, freeze_ranges_epoch=3, scheme=LEARNED)
    model.fit(x, y, batch_size=8, epochs=5, verbose=0, callbacks=[callback, Watch()])
    known = lambda numbers: [n for n in numbers if n]  # noqa: E731
    assert not known(seen[0])  # in float
    assert known(seen[1])
    assert known(seen[1]) != known(seen[2])
    assert seen[2] == seen[3] == seen[4]  # frozen, whatever the optimizer's moments say


def test_ranges_set_by_hand_stand_still(k):
    x, y = rows()
    model = small(k)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[Quantize(scheme=LEARNED, ranges={"second": 2.5})])
    assert model.get_layer("second").input_quantizers[0].range() == 2.5
    again = quantize_model(small(k), LEARNED, ranges={"second": 2.5}, calibration_data=x, verbose=0)
    again.compile("adam", "sparse_categorical_crossentropy")
    again.fit(x, y, epochs=2, verbose=0)
    assert again.get_layer("second").input_quantizers[0].range() == 2.5


def test_a_training_step_of_ones_own_trains_them(k):
    import tensorflow as tf

    class Own(k.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(k.losses.sparse_categorical_crossentropy(y, self(x, training=True)))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    x, y = rows()
    model = Own([*small(k).layers])
    model.build((None, 8, 8, 3))
    model.compile(k.optimizers.Adam(0.01), run_eagerly=False)
    model.fit(x, y, verbose=0)
    callback = Quantize(scheme=LEARNED, calibration_data=x)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
    first = ranges(model)
    model.fit(x, y, verbose=0, callbacks=[callback])
    assert all(a != b for a, b in zip(first, ranges(model), strict=True))


def test_an_interrupted_training_goes_on_where_it_was(k, tmp_path):
    x, y = rows()

    class Stop(k.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(model, folder, *others):
        backup = k.callbacks.BackupAndRestore(str(folder))
        own = Quantize(start_epoch=1, scheme=LEARNED)
        model.fit(x, y, epochs=4, shuffle=False, verbose=0, callbacks=[own, backup, *others])

    k.utils.set_random_seed(1)
    whole = small(k)
    start = whole.get_weights()
    fit(whole, tmp_path / "whole")
    interrupted = small(k)
    interrupted.set_weights(start)
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, tmp_path / "again", Stop())
    resumed = small(k)
    fit(resumed, tmp_path / "again")
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert int(resumed.optimizer.iterations.numpy()) == int(whole.optimizer.iterations.numpy())


def test_a_checkpoint_holds_ranges_and_moments(k, tmp_path):
    x, y = rows()
    model = small(k)
    model.fit(x, y, verbose=0)
    saves = k.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    model.fit(x, y, epochs=2, verbose=0, callbacks=[Quantize(scheme=LEARNED), saves])
    loaded = load_model(tmp_path / "2.keras")
    assert ranges(loaded) == ranges(model)
    state = [v.numpy() for v in model.optimizer.variables]
    assert len(loaded.optimizer.variables) == len(state)
    for was, now in zip(state, loaded.optimizer.variables, strict=True):
        np.testing.assert_allclose(was, now.numpy(), atol=1e-6)
    loaded.fit(x, y, verbose=0)
    save_model(quantize_model(loaded, verbose=0), tmp_path / "copy.keras")  # copies know their own ranges


def test_mixed_precision(k):
    before = k.mixed_precision.global_policy() if hasattr(k.mixed_precision, "global_policy") else None
    k.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = small(k)
    finally:
        k.mixed_precision.set_global_policy(before or "float32")
    x, y = rows()
    model.fit(x, y, verbose=0)
    callback = Quantize(scheme=LEARNED, calibration_data=x)
    model.fit(x, y, verbose=0, callbacks=[callback])
    first = ranges(model)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[callback])
    assert any(a != b for a, b in zip(first, ranges(model), strict=True))
    assert np.isfinite(ranges(model)).all()


def test_several_devices_are_refused_by_name(k):
    class Two:
        num_replicas_in_sync = 2

    model = small(k)
    with pytest.raises(InputError, match=r"one device. Received: Two of 2 replicas.*`learned_ranges`"):
        _with_strategy(k, model, Two())


def _with_strategy(k, model, strategy):
    own = type(model)
    model.__class__ = type(own.__name__, (own,), {"distribute_strategy": property(lambda self: strategy)})
    Quantize(scheme=LEARNED).set_model(model)


def test_ranges_inside_a_layer_get_a_gradient_while_it_computes_in_float(k):
    x = np.random.default_rng(0).random((4, 6, 16), "float32")
    inputs = k.Input((6, 16))
    h = k.layers.SeparableConv1D(16, 3, padding="same")(inputs)
    model = k.Model(inputs, k.layers.MultiHeadAttention(2, 16)(h, h))
    quantized = quantize_model(model, LEARNED, calibration_data=x, verbose=0)
    for layer in quantized.layers:
        for inner in [layer, *layer._flatten_layers()]:
            if is_twin(inner):
                set_silent(inner, True)
    with tf.GradientTape() as tape:  # eager: the switch is known, and no graph holds both ways
        total = tf.reduce_sum(quantized(x, training=True))
    variables = [
        getattr(v, "value", v) if k.__name__ == "keras" else v for v in quantized.trainable_variables
    ]
    assert all(gradient is not None for gradient in tape.gradient(total, variables))
    assert np.allclose(quantized(x), model(x), atol=1e-6)
