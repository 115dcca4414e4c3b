"""`callbacks.Prune`: a plain model is pruned while it trains, and stays pruned."""

import subprocess
import sys

import numpy as np
import pytest

from keras_trt._keras.masks.masking import value_of
from keras_trt.callbacks.prune import Prune
from keras_trt.errors import InputError, ModelError
from keras_trt.prune import ChannelPattern, prune_model, sparsity_report
from keras_trt.prune.masks import is_n_of_m
from keras_trt.prune.schedule import Schedule

X = np.random.default_rng(0).random((64, 6, 6, 16), dtype="float32")
Y = np.argmax(X.mean((1, 2)) @ np.random.default_rng(1).normal(size=(16, 4)), axis=1)  # 8 steps an epoch of 8

in_parts = pytest.mark.filterwarnings("ignore:This training ends with step")  # it is trained on later


def net(k):
    layers = [
        k.layers.Conv2D(16, 3, activation="relu", name="conv"),
        k.layers.Flatten(),
        k.layers.Dense(4, activation="softmax", name="head"),
    ]
    return k.Sequential([k.Input((6, 6, 16)), *layers])


def compiled(k, model=None, **options):
    model = model or net(k)
    model.compile(
        k.optimizers.Adam(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"], **options
    )
    return model


def fit(model, callback, epochs=1, **options):
    return model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0, callbacks=[callback], **options)


def zeros(model, name="conv"):
    return float((value_of(model.get_layer(name).kernel) == 0).mean())


@pytest.mark.parametrize(
    "options", [{}, {"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}]
)
def test_a_plain_model_reaches_the_target_and_keeps_it_without_the_callback(k, options):
    model = compiled(k, **options)
    fit(model, Prune(0.75, begin_step=2, end_step=12, frequency=5), epochs=2)
    assert zeros(model) == zeros(model, "head") == 0.75
    model.fit(X, Y, batch_size=8, verbose=0)
    assert zeros(model) == 0.75


def test_it_prunes_step_by_step(k):
    class Watch(Prune):
        def on_train_batch_begin(self, batch, logs=None):
            super().on_train_batch_begin(batch, logs)
            seen[self.step] = round(self.sparsity, 2)

    seen = {}
    model = compiled(k)
    fit(model, Watch(Schedule(0.8, begin_step=4, end_step=12, frequency=4, power=1)), epochs=2)
    assert [seen[step] for step in (0, 3, 4, 8, 11, 12, 15)] == [0, 0, 0, 0.4, 0.4, 0.8, 0.8]
    assert sorted(seen) == list(range(16))


def test_schedules_of_tfmot_are_taken_as_they_are(k, tfmot_schedules):
    model = compiled(k)
    fit(model, Prune(tfmot_schedules.PolynomialDecay(0.1, 0.5, 0, 8, frequency=4)), epochs=2)
    assert zeros(model) == 0.5


def test_a_model_that_was_fitted_before_is_traced_again(k):
    model = compiled(k)
    model.fit(X, Y, batch_size=8, verbose=0)
    fit(model, Prune(0.5))
    assert zeros(model) == 0.5


def test_names_and_layers_stay(k):
    model = compiled(k)
    before = [w.name for w in model.weights], [type(layer) for layer in model.layers]
    fit(model, Prune(0.5))
    assert before == ([w.name for w in model.weights], [type(layer) for layer in model.layers])


def test_two_of_four_needs_no_amount(k):
    model = compiled(k)
    fit(model, Prune(pattern="2:4", only="conv"))
    assert is_n_of_m(value_of(model.get_layer("conv").kernel), 2, 4, axis=2)


def test_steps_per_execution_are_counted(k):
    model = compiled(k, steps_per_execution=4)
    prune = Prune(0.5, begin_step=9)
    fit(model, prune, epochs=2)
    assert prune.step == 12
    assert zeros(model) == 0.5


def test_gradient_accumulation_and_mixed_precision_keep_zeros(k):
    k.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = net(k)
    finally:
        k.mixed_precision.set_global_policy("float32")
    optimizer = k.optimizers.SGD(0.01)
    if k.__name__ == "keras":
        optimizer = k.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    fit(model, Prune(0.5))
    assert zeros(model) == 0.5


@pytest.mark.parametrize("scaled", [False, True])
def test_accumulated_gradients_leave_the_steps_batches(scaled):
    import keras as k

    model, steps = net(k), []
    optimizer = k.optimizers.SGD(0.01, gradient_accumulation_steps=4)
    optimizer = k.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer
    model.compile(optimizer, "sparse_categorical_crossentropy")
    fit(model, Prune(lambda step: steps.append(step) or 0.5), epochs=2)
    fit(model, Prune(lambda step: steps.append(step) or 0.5))
    assert steps == [*range(24)]  # 8 batches an epoch


def test_averaged_weights_are_masked_too(k):
    model = net(k)
    model.compile(k.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9), "sparse_categorical_crossentropy")
    fit(model, Prune(0.5, begin_step=4))
    assert zeros(model) == 0.5


def test_a_custom_train_step_is_pruned(k):
    import tensorflow as tf

    class Custom(k.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(k.losses.sparse_categorical_crossentropy(y, self(x, training=True)))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    base = net(k)
    model = Custom(base.inputs, base.outputs[0])
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    fit(model, Prune(0.5, begin_step=2))
    assert zeros(model) == 0.5


def test_a_subclassed_model_is_pruned_in_place(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.body = net(k)

        def call(self, x):
            return self.body(x)

    model = Net()
    model(X[:1])
    fit(compiled(k, model), Prune(0.5))
    assert zeros(model.body) == 0.5


def test_a_hand_written_loop_needs_one_call(k):
    import tensorflow as tf

    model, optimizer = net(k), k.optimizers.Adam(0.01)
    prune = Prune(0.6, end_step=6, frequency=2)
    prune.set_model(model)

    @tf.function
    def train_step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for step in range(8):
        prune.update(step)
        train_step(X[:8])
    assert zeros(model) == round(0.6 * 2304) / 2304


@in_parts
def test_training_resumes_from_a_file_with_masks_and_step(k, tmp_path):
    schedule = Schedule(0.8, end_step=16, frequency=4, power=1)
    model = compiled(k)
    fit(model, Prune(schedule))
    model.save(tmp_path / "m.keras")
    loaded = k.models.load_model(tmp_path / "m.keras")
    start = value_of(loaded.get_layer("conv").kernel) == 0
    assert 0.2 < start.mean() < 0.4
    prune = Prune(schedule)
    fit(loaded, prune, epochs=2)
    assert prune.step == 23
    assert zeros(loaded) == round(0.8 * 2304) / 2304
    assert (value_of(loaded.get_layer("conv").kernel) == 0)[start].all()


def test_a_file_loaded_by_keras_alone_resumes_in_eager_steps(k, tmp_path):
    model = compiled(k, run_eagerly=True)
    fit(model, Prune(0.5))
    model.save(tmp_path / "m.keras")
    loaded = compiled(k, k.models.load_model(tmp_path / "m.keras", compile=False), run_eagerly=True)
    fit(loaded, Prune(0.5))
    assert zeros(loaded) == 0.5


@in_parts
def test_training_resumes_from_a_checkpoint_of_weights(k, tmp_path):
    model = compiled(k)
    fit(model, Prune(0.7))
    model.save_weights(tmp_path / "w.weights.h5")
    fresh = compiled(k)
    fit(fresh, Prune(0.1), epochs=1)  # builds the optimiser; other zeros than the checkpoint's
    fresh.load_weights(tmp_path / "w.weights.h5")
    fit(fresh, Prune(0.7, begin_step=10**6))
    assert zeros(fresh) == zeros(model)


def test_interrupted_training_goes_on_where_keras_backed_it_up(k, tmp_path):
    class PowerCut(k.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    schedule = Schedule(0.8, end_step=24, frequency=4, power=1)
    first = compiled(k)
    backup = k.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.raises(KeyboardInterrupt):
        first.fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[Prune(schedule), backup, PowerCut()])
    second, prune, steps = compiled(k), Prune(schedule), []
    watch = k.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: steps.append(prune.step))
    backup = k.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    second.fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[prune, backup, watch])
    assert steps[0] >= 8
    assert steps[-1] == 31
    assert zeros(second) == round(0.8 * 2304) / 2304


@in_parts
def test_masks_and_step_come_back_from_a_checkpoint_of_tensorflow(k, tmp_path):
    import tensorflow as tf

    schedule = Schedule(0.8, end_step=16, frequency=4, power=1)
    first = compiled(k)
    fit(first, Prune(schedule))
    saved = tf.train.Checkpoint(model=first, optimizer=first.optimizer).save(str(tmp_path / "c"))
    start = value_of(first.get_layer("conv").kernel) == 0
    second = compiled(k)
    fit(second, Prune(0.1))  # builds the optimiser; other zeros, another step
    tf.train.Checkpoint(model=second, optimizer=second.optimizer).restore(saved)
    prune = Prune(schedule)
    fit(second, prune)
    found = value_of(second.get_layer("conv").kernel) == 0
    assert prune.step == 15
    assert found[start].all()
    assert 0.5 < found.mean() < 0.8


MIRRORED = """
import numpy as np, tensorflow as tf, keras, tf_keras
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_trt._keras.flavor_of import flavor_of
from keras_trt.callbacks.prune import Prune
rng = np.random.default_rng(0)
x, y = rng.random((64, 8), "float32"), rng.integers(0, 4, 64)
for k in (keras, tf_keras):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        layers = [k.layers.Dense(16, name="d"), k.layers.Dense(4, activation="softmax")]
        model = k.Sequential([k.Input((8,)), *layers])
        model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[Prune(0.75, end_step=6, frequency=2)])
    first, second = (v.numpy() for v in flavor_of(model).raw(model.get_layer("d").kernel).values)
    assert (first == 0).mean() == 0.75, (first == 0).mean()
    assert np.array_equal(first, second)
"""


def test_replicas_agree_under_mirrored_strategy():
    done = subprocess.run([sys.executable, "-c", MIRRORED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_accuracy_decides_how_far_to_prune(k):
    model = compiled(k)
    model.fit(X, Y, batch_size=8, epochs=15, verbose=0)
    dense = model.evaluate(X, Y, verbose=0)[1]
    prune = Prune(0.9, monitor="val_accuracy", max_drop=0.05)
    fit(model, prune, epochs=14, validation_data=(X, Y))
    assert prune.search.accepted > 0.1
    assert prune.sparsity == pytest.approx(prune.search.accepted, abs=2e-3)
    assert model.evaluate(X, Y, verbose=0)[1] >= dense - 0.05 - 0.05  # the baseline is the first epoch's


def test_weights_of_a_rejected_level_are_not_left_behind(k):
    model = compiled(k)
    prune = Prune(0.9, monitor="accuracy", max_drop=0.0)
    prune.search.baseline = 0.0
    fit(model, prune, epochs=1)
    assert prune.search.accepted == 0.0
    assert prune.search.trying == 0.2
    assert prune.sparsity == 0.0  # level 0.2 was never judged


def test_a_missing_metric_is_named_with_what_there_is(k):
    message = r"'val_accuracy'.*is not in the logs.*Available: .*loss"
    with pytest.warns(UserWarning, match=message), pytest.raises(InputError, match=message):
        fit(compiled(k), Prune(monitor="val_accuracy"))
    for monitor, options in (("acuracy", {}), ("val_acuracy", {"validation_data": (X, Y)})):
        with pytest.raises(InputError, match=f"'{monitor}'.*Available: .*loss"):
            fit(compiled(k), Prune(monitor=monitor), epochs=9, **options)


def test_epochs_without_validation_are_not_judged(k):
    class Watch(Prune):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            levels.append(self.search.trying)

    levels, prune, model = [], Watch(0.9, monitor="val_loss", max_drop=100.0), compiled(k)
    with pytest.warns(UserWarning, match=r"'val_loss'.*is not in the logs.*Nothing is pruned before it is"):
        fit(model, prune, epochs=5, validation_data=(X, Y), validation_freq=2)
    assert levels == pytest.approx([0.0, 0.2, 0.2, 0.4, 0.4])
    assert prune.sparsity == pytest.approx(0.2, abs=2e-3)  # the last level was never judged


def test_a_wrong_layer_name_is_an_error_before_training(k):
    model = compiled(k)
    before = model.get_weights()
    with pytest.raises(InputError, match="Close names: conv"):
        fit(model, Prune(0.5, only="cnv"))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"schedule": Schedule(0.5), "end_step": 9}, "`end_step` go with a number"),
        ({"schedule": 0.5, "monitor": "loss", "end_step": 9}, "the metric decides"),
        ({"monitor": "loss", "mode": "up"}, "mode='up'"),
        ({"schedule": 0.5, "strategy": "best"}, "strategy='best'"),
        ({"pattern": "2:4", "strategy": "global"}, "fixes the sparsity"),
    ],
)
def test_arguments_that_contradict_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Prune(**arguments)


def test_a_schedule_given_to_prune_model_is_followed_and_saved_with_the_model(k, tmp_path):
    plan = Schedule(0.75, end_step=12, frequency=4, initial=0.25)
    model = prune_model(net(k), schedule=plan, pattern=(2, 2), pooling="max", only="conv")
    assert zeros(model) == 0.25
    fit(compiled(k, model), Prune())
    model.save(tmp_path / "m.keras")
    loaded = k.models.load_model(tmp_path / "m.keras")
    assert 0.25 < zeros(loaded) < 0.75
    prune = Prune()
    fit(loaded, prune)
    assert zeros(loaded) == 0.75
    assert zeros(loaded, "head") == 0
    assert (prune.schedule, prune.pattern.name) == (plan, "2x2 max")


def test_a_later_amount_counts_and_the_old_schedule_no_longer_drives(k, tmp_path):
    model = prune_model(net(k), schedule=Schedule(0.75, end_step=12, frequency=4, initial=0.25))
    fit(compiled(k, model), Prune())  # 8 of 12 steps
    model.save(tmp_path / "m.keras")
    later = compiled(k, prune_model(k.models.load_model(tmp_path / "m.keras"), 0.8))
    assert zeros(later) == round(0.8 * 2304) / 2304
    with pytest.raises(InputError, match="Say how much to prune"):
        fit(later, Prune())
    later.fit(X, Y, batch_size=8, epochs=2, verbose=0)
    assert zeros(later) == round(0.8 * 2304) / 2304
    assert 0.25 < zeros(model) < 0.75  # the argument is not changed
    fit(model, Prune())  # and goes on where it was
    assert zeros(model) == 0.75


def test_an_amount_for_one_layer_leaves_the_others_their_schedule(k):
    model = prune_model(net(k), schedule=Schedule(0.75, end_step=4, frequency=2))
    later = prune_model(model, 0.5, only="conv")
    fit(compiled(k, later), Prune())
    assert (zeros(later), zeros(later, "head")) == (0.5, 0.75)


def test_an_amount_after_a_callback_counts_for_the_next_training(k):
    model = compiled(k)
    fit(model, Prune(0.25, end_step=4, frequency=2))
    later = compiled(k, prune_model(model, 0.5))
    later.fit(X, Y, batch_size=8, verbose=0)
    assert zeros(later) == zeros(later, "head") == 0.5
    fit(later, Prune(0.75, end_step=4, frequency=2))
    assert zeros(later) == 0.75


@in_parts
def test_a_schedule_of_the_callback_is_remembered_by_the_model(k, tmp_path):
    model = compiled(k)
    fit(model, Prune(0.75, end_step=12, frequency=4, only="conv"))
    model.save(tmp_path / "m.keras")
    loaded = k.models.load_model(tmp_path / "m.keras")
    fit(loaded, Prune())
    assert (zeros(loaded), zeros(loaded, "head")) == (0.75, 0)


def test_attention_and_recurrent_layers_bring_their_schedule_back_from_a_file(k, tmp_path, rng):
    inputs = k.Input((4, 8))
    h = k.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    h = k.layers.Bidirectional(k.layers.LSTM(4, name="lstm"), name="both")(h)
    model = k.Model(inputs, k.layers.Dense(4, activation="softmax", name="head")(h))
    model = prune_model(prune_model(model, 0.25), schedule=Schedule(0.75, end_step=6, frequency=2))
    x, y = rng.random((64, 4, 8)), rng.integers(0, 4, 64)
    model.save(tmp_path / "m.keras")
    loaded = compiled(k, k.models.load_model(tmp_path / "m.keras", compile=False))
    loaded.fit(x, y, batch_size=8, verbose=0, callbacks=[Prune()])
    found = {row["weight"]: (row["target"], row["sparsity"]) for row in sparsity_report(loaded).rows}
    assert len(found) == 9
    assert found == dict.fromkeys(found, (0.75, 0.75))


def test_several_remembered_schedules_are_refused_with_their_layers(k):
    model = prune_model(net(k), schedule=Schedule(0.5), only="conv")
    model = compiled(k, prune_model(model, schedule=Schedule(0.75), only="head"))
    with pytest.raises(InputError, match=r"several schedules, e.g. for 'conv.kernel' and 'head.kernel'"):
        fit(model, Prune())


def test_one_callback_serves_several_models_afresh(k):
    prune = Prune()
    for final in (0.25, 0.75):
        model = compiled(k, prune_model(net(k), schedule=Schedule(final, end_step=4, frequency=2)))
        fit(model, prune)
        assert zeros(model) == final
    search = Prune(0.9, monitor="loss", max_drop=100.0)
    for _ in range(2):
        model = compiled(k)
        fit(model, search, epochs=3)
        assert search.search.accepted == pytest.approx(0.4)


@pytest.mark.parametrize("pattern", ["channel", ChannelPattern(by="batchnorm")])
def test_channels_are_not_removed_during_fit_and_it_says_where(pattern):
    message = r"changes the model's shape.*`prune_model\(model, 0.4, pattern=.channel.\)`"
    with pytest.raises(InputError, match=message):
        Prune(0.4, pattern=pattern)


@pytest.mark.parametrize(
    "arguments", [{"only": "conv"}, {"pattern": (2, 2)}, {"strategy": "global"}, {"end_step": 9}]
)
def test_arguments_without_an_amount_are_refused_rather_than_ignored(arguments):
    with pytest.raises(InputError, match=rf"Say how much to prune.*Received: {next(iter(arguments))}="):
        Prune(**arguments)


def test_without_any_schedule_it_says_what_to_give(k):
    with pytest.raises(InputError, match=r"prune_model\(model, schedule=...\)"):
        fit(compiled(k), Prune())


def test_no_model_is_an_error():
    with pytest.raises(ModelError, match="model is needed"):
        Prune(0.5).update(0)


@pytest.mark.parametrize("copy", [True, False])
def test_weights_restored_after_the_training_are_pruned_anew_from_their_own_zeros(k, copy):
    model = compiled(k)
    stop = k.callbacks.EarlyStopping(
        "loss", mode="max", patience=9, restore_best_weights=True
    )  # the first epoch
    model.fit(X, Y, epochs=3, batch_size=8, verbose=0, callbacks=[Prune(0.8, begin_step=12), stop])
    assert not (value_of(model.get_layer("conv").kernel) == 0).any()
    pruned = prune_model(model, 0.25, copy=copy)
    for name in ("conv", "head"):
        assert np.mean(value_of(pruned.get_layer(name).kernel) == 0) == pytest.approx(0.25, abs=0.01)
