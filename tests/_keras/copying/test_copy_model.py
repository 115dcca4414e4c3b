"""A copy has the model's classes, weights and ties, and nothing of its training."""

from __future__ import annotations

import array
import threading

import numpy as np
import pytest

import keras_trt
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._machine.process import attributes_replaced
from keras_trt.errors import ModelError


def own_loss(y_true, y_pred):
    return (y_true - y_pred) ** 2


@pytest.mark.parametrize("loss", ["mse", own_loss])
def test_the_clone_of_a_compiled_model_is_not_compiled(k, loss):
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3)])
    model.compile("adam", loss=loss)
    optimizer = model.optimizer
    copy = flavor_of(model).clone(model)
    assert getattr(copy, "optimizer", None) is None
    assert model.optimizer is optimizer
    model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
    for old, new in zip(model.layers, copy.layers, strict=True):
        assert old.name == new.name


def test_a_model_with_a_loss_of_its_own_is_quantised_and_pruned(k):
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3)])
    model.compile("adam", loss=own_loss)
    assert keras_trt.quantize_model(model).get_weights()
    assert keras_trt.prune_model(model, sparsity=0.5).get_weights()


def test_a_model_with_a_saved_model_inside_is_quantised(tmp_path):
    import keras

    inner = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3)])
    inner.export(tmp_path / "saved", verbose=False)
    layer = keras.layers.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve")
    model = keras.Sequential([keras.layers.Input((4,)), layer, keras.layers.Dense(2, name="head")])
    x = np.ones((2, 4), np.float32)
    clone = flavor_of(model).clone(model)
    np.testing.assert_array_equal(clone(x), model(x))


def test_a_subclassed_model_with_a_function_inside_is_cloned(k):
    @k.saving.register_keras_serializable(f"test_clone_{k.__name__}")
    class Net(k.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.double = k.layers.Lambda(lambda x: x * 2, name="double")
            self.head = k.layers.Dense(2, name="head")

        def call(self, x):
            return self.head(self.double(x))

    model, x = Net(), np.ones((2, 4), np.float32)
    expected = np.asarray(model(x))
    np.testing.assert_array_equal(np.asarray(flavor_of(model).clone(model)(x)), expected)


@pytest.mark.parametrize("change", ["clone", "fuse", "shrink"])
def test_an_adapted_normalization_normalises_in_the_copy_too(k, change):
    x = np.random.default_rng(0).normal(3, 5, (64, 4)).astype("float32")
    norm = k.layers.Normalization(name="norm")
    norm.adapt(x)
    hidden = [k.layers.Dense(8, name="hidden"), k.layers.BatchNormalization(), k.layers.Dense(2, name="out")]
    model = k.Sequential([k.layers.Input((4,)), norm, *hidden])
    if change == "clone":
        copy = keras_trt.strip(keras_trt.quantize_model(model))
    elif change == "fuse":
        copy = keras_trt.fuse_model(model)
    else:
        kernel = model.get_layer("hidden").kernel
        kernel.assign(kernel * np.float32([1] * 4 + [0] * 4))
        copy = keras_trt.prune_model(model, sparsity=0.5, pattern="channel")
        assert copy.get_layer("hidden").units == 4
    np.testing.assert_allclose(copy.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def copied(model):
    """A copy whose class and outputs are the model's, and which the model does not notice being changed."""
    copy = flavor_of(model).clone(model)
    assert type(copy) is type(model)
    assert [v.name for v in copy.weights] == [v.name for v in model.weights]
    before = np.asarray(model(X))
    np.testing.assert_array_equal(np.asarray(copy(X)), before)
    kept = copy.get_weights()
    copy.set_weights([np.zeros_like(value) for value in kept])
    assert not np.asarray(copy(X)).any()
    np.testing.assert_array_equal(np.asarray(model(X)), before)
    copy.set_weights(kept)
    return copy


def test_a_functional_subclass_keeps_its_class_and_weights_whatever_the_order_of_its_attributes(k):
    class Net(k.Model):
        def __init__(self):
            last, first = k.layers.Dense(4, name="last"), k.layers.Dense(4, name="first")
            inputs = k.Input((4,))
            super().__init__(inputs, last(first(inputs)))
            self.last, self.first = last, first
            self.seen = k.metrics.Mean(name="seen")

        def train_step(self, data):
            return {"mine": 1.0 + 0.0 * self.seen.count}

    model = Net()
    copy = copied(model)
    assert copy.seen is not model.seen
    np.testing.assert_array_equal(copy.first.kernel, copy.get_layer("first").kernel)
    assert copy.last is copy.get_layer("last")
    copy.compile("sgd", "mse")
    assert list(copy.fit(X, X, verbose=0).history) == ["mine"]


def test_no_constructor_and_no_config_is_asked(k):
    made = []

    class Front(k.layers.Layer):
        def __init__(self, gain):
            super().__init__()
            made.append(self)
            self.gain = gain

        def call(self, x):
            return x * self.gain

        def get_config(self):
            raise AssertionError("asked")

    class Net(k.Model):
        def __init__(self):
            super().__init__()
            made.append(self)
            self.front, self.head = Front(2.0), k.layers.Dense(3)

        def call(self, x):
            return self.head(self.front(x))

    net = Net()
    net(X)
    inputs = k.Input((4,))
    for model in (net, k.Model(inputs, k.layers.Dense(2)(Front(3.0)(inputs)))):
        count = len(made)
        copied(model)
        assert len(made) == count


def test_what_is_shared_stays_shared(k):
    shared = k.layers.Dense(4, name="shared")
    inputs = k.Input((4,))
    inner = k.Model(inputs, k.layers.Dense(4, name="inside")(shared(inputs)), name="inner")
    inputs = k.Input((4,))
    model = k.Model(inputs, shared(inner(inputs)))
    copy = copied(model)
    assert len(copy.weights) == len(model.weights) == 4
    assert copy.get_layer("inner").get_layer("shared") is copy.get_layer("shared")


def test_a_lambda_keeps_its_globals_and_gets_its_own_copy_of_the_layer_it_closes_over(k):
    hidden = k.layers.Dense(4)
    hidden.build((None, 4))
    inputs = k.Input((4,))
    around = k.layers.Lambda(lambda x: np.pi * hidden(x), output_shape=(4,))
    model = k.Model(inputs, k.layers.Dense(2, use_bias=False)(around(inputs)))
    copy = flavor_of(model).clone(model)
    np.testing.assert_array_equal(copy(X), model(X))
    hidden.set_weights([np.zeros((4, 4)), np.zeros(4)])
    assert not np.asarray(model(X)).any()
    assert np.asarray(copy(X)).any()


def test_layers_of_one_name_keep_their_own_trainable_flags(k):
    class Twice(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.a, self.b = k.layers.Dense(4, name="same"), k.layers.Dense(4, name="same")

        def build(self, shape):
            self.a.build(shape)
            self.b.build(shape)
            super().build(shape)

        def call(self, x):
            return self.b(self.a(x))

    inputs = k.Input((4,))
    frozen = k.Model(inputs, k.layers.Dense(4, name="deep")(inputs), name="frozen")
    frozen.trainable = False
    inputs = k.Input((4,))
    model = k.Model(inputs, Twice(name="twice")(frozen(inputs)))
    model.get_layer("twice").a.trainable = False
    copy = copied(model)
    assert [v.name for v in copy.trainable_weights] == [v.name for v in model.trainable_weights]
    assert copy.get_layer("frozen").trainable is False
    assert copy.get_layer("twice").a.trainable is False
    assert copy.get_layer("twice").b.trainable is True


def test_only_the_calls_of_the_model_itself_are_copied(k):
    inputs = k.Input((4,))
    base = k.layers.Dense(4, name="base")
    body = k.layers.Dense(4, name="body")(base(inputs))
    heads = [k.Model(inputs, k.layers.Dense(2, name=f"head_{i}")(body)) for i in range(3)]
    base(k.Input((4,)))
    copy = copied(heads[1])
    layer = copy.get_layer("base")
    assert len(layer._inbound_nodes) == 1
    assert len(copy.get_layer("body")._outbound_nodes) == 1
    features = k.Model(copy.input, copy.get_layer("body").output)  # its graph can be cut as the original's
    np.testing.assert_array_equal(features(X), k.Model(inputs, body)(X))
    again = k.Model.from_config(copy.get_config())
    assert [layer.name for layer in again.layers] == [layer.name for layer in copy.layers]


def test_the_copy_of_a_model_in_training_starts_uncompiled_and_the_model_goes_on(k, tmp_path):
    inputs = k.Input((4,))
    hidden = k.layers.Dense(4, kernel_regularizer="l2", activity_regularizer="l2", name="hidden")(inputs)
    model = k.Model(inputs, k.layers.Dense(2)(k.layers.BatchNormalization()(hidden)))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(X, X[:, :2], verbose=0)
    before, state = model.get_weights(), [np.asarray(v) for v in _variables(model.optimizer)]
    copy = copied(model)
    assert getattr(copy, "optimizer", None) is None
    copy.compile("adam", "mse")
    copy.fit(X, X[:, :2], epochs=2, verbose=0)
    copy(X)
    expected = 0.01 * np.square(copy.get_layer("hidden").kernel).sum()
    assert any(np.isclose(loss, expected, rtol=1e-5) for loss in copy.losses)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(state, _variables(model.optimizer), strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))
    copy.save(tmp_path / "copy.keras")
    loaded = k.models.load_model(tmp_path / "copy.keras")
    np.testing.assert_allclose(loaded(X), copy(X), rtol=1e-6)


def _variables(optimizer):
    return optimizer.variables() if callable(optimizer.variables) else optimizer.variables


def test_copying_uses_up_none_of_the_names_that_keras_gives(k):
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3)])
    first = k.layers.Dense(1).name
    flavor_of(model).clone(model)
    stem, number = first.rsplit("_", 1)
    assert k.layers.Dense(1).name == f"{stem}_{int(number) + 1}"


class Held:
    """A user's own object that a layer holds."""

    def __init__(self, layer=None):
        self.layer = layer
        self.table = {"a": [1, 2]}


def test_objects_of_the_user_are_shared_unless_they_hold_layers(k, tmp_path):
    file = (tmp_path / "open.txt").open("w")
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3, name="dense")])
    dense = model.get_layer("dense")
    dense.extra, dense.holder, dense.file, dense.values = Held(), Held(dense), file, np.arange(3)
    dense.lock = threading.Lock()
    with dense.lock:  # also while somebody holds it
        new = flavor_of(model).clone(model).get_layer("dense")
    assert new.extra is dense.extra
    assert new.file is file
    assert new.values is dense.values
    assert new.holder is not dense.holder
    assert new.holder.layer is new
    assert new.lock.acquire(blocking=False)
    file.close()


def test_what_cannot_be_copied_is_named_with_its_layer_and_the_way_out(k):
    class Box(array.array):
        pass

    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3, name="dense")])
    box = Box("i", [1])
    box.layer = model.get_layer("dense")
    model.get_layer("dense").box = box
    with pytest.raises(
        ModelError, match=r"Layer 'dense' \(Dense\): its attribute 'box', an object of type Box.*copy=False"
    ):
        keras_trt.quantize_model(model)
    assert keras_trt.quantize_model(model, copy=False) is model


def test_what_is_added_to_the_copy_is_not_added_to_the_model(k):
    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3, name="dense")])
    flavor = flavor_of(model)
    copy = flavor.clone(model)
    layer = copy.get_layer("dense")
    with flavor.unlocked(layer):
        layer.inner = k.layers.Dense(2)
        layer.inner.build((None, 3))
    assert len(copy.trainable_weights) == 4
    assert len(model.trainable_weights) == 2
    assert not flavor.children(model.get_layer("dense"))


def test_functions_that_tensorflow_has_traced_read_the_variables_of_the_copy(k):
    import tensorflow as tf

    class Fast(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = k.layers.Dense(3)
            self.fast = tf.function(self.slow)

        def build(self, shape):
            self.dense.build(shape)
            super().build(shape)

        def slow(self, x):
            return self.dense(x)

        def call(self, x):
            return self.fast(x)

    inputs = k.Input((4,))
    copied(k.Model(inputs, Fast()(inputs)))


@pytest.mark.filterwarnings("ignore")
def test_layers_revived_from_a_saved_model_train_in_the_copy_only(tmp_path):
    import tf_keras

    class Own(tf_keras.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(name="w", shape=(shape[-1], 4))

        def call(self, x):
            return x @ self.w

    inputs = tf_keras.Input((4,))
    tf_keras.Model(inputs, Own(name="own")(inputs)).save(tmp_path / "saved", save_format="tf")
    model = tf_keras.models.load_model(tmp_path / "saved", compile=False)
    copy = copied(model)
    before = model.get_weights()[0]
    copy.compile("sgd", "mse")
    copy.fit(X, X, verbose=0)
    assert np.abs(copy.get_weights()[0] - before).max() > 0
    np.testing.assert_array_equal(model.get_weights()[0], before)


def test_an_optimizer_of_the_models_own_goes_on_in_the_copy(k):
    import tensorflow as tf

    model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3)])
    model.inner = k.optimizers.Adam(0.1)

    def step(net):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(net(X) ** 2)
        net.inner.apply_gradients(
            zip(tape.gradient(loss, net.trainable_weights), net.trainable_weights, strict=True)
        )

    step(model)
    copy = flavor_of(model).clone(model)
    step(copy)
    step(model)
    for old, new in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_mixed_precision_model_is_copied(k, policy):
    layer = k.layers.Dense(3, dtype=policy)
    copy = copied(k.Sequential([k.layers.Input((4,)), layer]))
    assert copy.layers[-1].compute_dtype == policy.removeprefix("mixed_")


def test_a_model_of_a_strategy_is_copied_under_it(k):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = k.Sequential([k.layers.Input((4,)), k.layers.Dense(3), k.layers.BatchNormalization()])
    flavor = flavor_of(model)
    copy = flavor.clone(model)
    for old, new in zip(model.weights, copy.weights, strict=True):
        assert type(flavor.raw(old)) is type(flavor.raw(new))
        np.testing.assert_array_equal(old.numpy(), new.numpy())


def test_random_layers_go_on_from_the_state_of_the_model():
    import keras as k

    model = k.Sequential([k.layers.Input((4,)), k.layers.Dropout(0.5, seed=7), k.layers.Dense(2)])
    model(X, training=True)
    copy = flavor_of(model).clone(model)
    np.testing.assert_array_equal(copy(X, training=True), model(X, training=True))


@pytest.mark.parametrize("change", [keras_trt.quantize_model, keras_trt.fuse_model])
def test_a_copy_made_while_another_thread_exports_the_model_holds_nothing_of_that_export(k, change):
    model = k.Sequential(
        [k.Input((4,)), k.layers.Dense(3, "relu", name="body"), k.layers.Dense(2, name="head")]
    )
    body, copies = model.get_layer("body"), []
    thread = threading.Thread(target=lambda: copies.append(change(model)))
    with attributes_replaced() as replace:
        replace(body, "call", lambda x: x)
        thread.start()
        thread.join(0.5)
    thread.join()
    assert "call" not in vars(copies[0].get_layer("body"))
    copies[0](X)
