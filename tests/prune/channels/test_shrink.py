"""Channels really go: the smaller model computes what the masked one does."""

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.kernels import kernels_of
from keras_trt.errors import InputError, ModelError
from keras_trt.prune import ChannelPattern, Schedule, channel_report, prune_model

X = np.random.default_rng(0).random((3, 16, 16, 3), dtype="float32")


def with_dead_channels(model, fraction=0.4):
    """Zeroes the first channels of every layer but the last, so that removing them changes nothing."""
    flavor, rng = flavor_of(model), np.random.default_rng(0)
    layers = [layer for _, layer in flavor.walk(model)]
    for layer in layers:
        for name in ("gamma", "beta", "moving_mean", "moving_variance", "bias"):
            variable = getattr(layer, name, None)
            if variable is not None:
                value = rng.uniform(0.5, 1.5, variable.shape)
                value[: round(fraction * len(value)) if name != "moving_variance" else 0] = 0
                variable.assign(value if layer is not layers[-1] else rng.random(variable.shape))
        for kernel in kernels_of(layer) if layer is not layers[-1] else ():
            value = getattr(layer, kernel.name).numpy()
            moved = np.moveaxis(
                value, kernel.channel_axes[0] if not kernel.input_axes else kernel.channel_axes[-1], 0
            )
            moved[: round(fraction * len(moved))] = 0
            getattr(layer, kernel.name).assign(value)
    return model


def conv(k, h, width, size=3, **options):
    h = k.layers.Conv2D(width, size, padding="same", use_bias=False, **options)(h)
    return k.layers.ReLU()(k.layers.BatchNormalization()(h))


def residual(k, h):
    y = conv(k, h, 20)
    y = k.layers.BatchNormalization()(k.layers.Conv2D(10, 3, padding="same")(y))
    return k.layers.ReLU()(k.layers.Add()([h, y]))


def inverted_bottleneck(k, h):
    y = conv(k, h, 30, 1)
    y = k.layers.ReLU(6.0)(k.layers.BatchNormalization()(k.layers.DepthwiseConv2D(3, padding="same")(y)))
    return k.layers.Add()([h, k.layers.Conv2D(10, 1)(y)])


def squeeze_excite(k, h):
    s = k.layers.GlobalAveragePooling2D()(h)
    s = k.layers.Reshape((1, 1, 10))(s)
    s = k.layers.Conv2D(5, 1, activation="relu")(s)
    s = k.layers.Conv2D(10, 1, activation="sigmoid")(s)
    return k.layers.Multiply()([h, s])


def inception(k, h):
    branches = [conv(k, h, 10, 1), conv(k, conv(k, h, 10, 1), 20), k.layers.MaxPooling2D(3, 1, "same")(h)]
    return k.layers.Concatenate()(branches)


def separable(k, h):
    return k.layers.SeparableConv2D(10, 3, depth_multiplier=2, activation="relu")(h)


def u_net(k, h):
    down = conv(k, k.layers.MaxPooling2D()(h), 20)
    up = k.layers.Conv2DTranspose(10, 2, strides=2, activation="relu")(down)
    return k.layers.Concatenate()([h, k.layers.UpSampling2D()(k.layers.AveragePooling2D(2)(up))])


def depthwise_multiplier(k, h):
    return k.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(h)


BLOCKS = [residual, inverted_bottleneck, squeeze_excite, inception, separable, u_net, depthwise_multiplier]


def net(k, block):
    inputs = k.Input((16, 16, 3))
    h = k.layers.MaxPooling2D(4)(block(k, conv(k, inputs, 10)))
    h = k.layers.Dense(20, activation="relu", name="hidden")(k.layers.Flatten()(h))
    return k.Model(inputs, k.layers.Dense(5, activation="softmax", name="head")(h))


@pytest.mark.parametrize("block", BLOCKS)
def test_removing_dead_channels_changes_nothing(k, block):
    model = with_dead_channels(net(k, block))
    small = prune_model(model, 0.4, pattern="channel")
    assert small.get_layer("hidden").units == 12
    assert small.count_params() < 0.5 * model.count_params()
    expected = model.predict(X, verbose=0)
    assert np.abs(small.predict(X, verbose=0) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_networks_of_applications_shrink(k, rng):
    """Both Kerases have the same networks: residual blocks are tried in one, depthwise in the other."""
    name = "ResNet50" if k.__name__ == "keras" else "MobileNetV2"
    model = getattr(k.applications, name)(weights=None, input_shape=(32, 32, 3), classes=10)
    small = prune_model(model, 0.4, pattern="channel")
    assert small.count_params() < 0.45 * model.count_params()
    assert small.output_shape == model.output_shape
    assert np.isfinite(small.predict(rng.random((2, 32, 32, 3)), verbose=0)).all()


def test_the_smaller_model_trains_saves_and_keeps_names(k, tmp_path):
    model = net(k, residual)
    small = prune_model(model, 0.4, pattern="channel")
    assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
    small.compile("adam", "sparse_categorical_crossentropy")
    small.fit(X, np.arange(3), verbose=0)
    small.save(tmp_path / "m.keras")
    assert np.array_equal(
        k.models.load_model(tmp_path / "m.keras").predict(X, verbose=0), small.predict(X, verbose=0)
    )


def test_the_weakest_channels_go(k):
    model = k.Sequential([k.Input((8, 8, 3)), k.layers.Conv2D(8, 3, name="c"), k.layers.Conv2D(2, 1)])
    kernel = np.ones((3, 3, 3, 8)) * np.array([5, 1, 7, 2, 8, 3, 6, 4])
    model.get_layer("c").kernel.assign(kernel)
    small = prune_model(model, 0.5, pattern="channel")
    assert small.get_layer("c").kernel.numpy()[0, 0, 0].tolist() == [5, 7, 8, 6]


def test_batchnorm_scales_decide_when_asked(k):
    layers = [k.layers.Conv2D(4, 3, name="c"), k.layers.BatchNormalization(name="bn"), k.layers.Conv2D(2, 1)]
    model = k.Sequential([k.Input((8, 8, 3)), *layers])
    model.get_layer("bn").gamma.assign([0.1, -3.0, 2.0, 0.2])
    small = prune_model(model, 0.5, pattern=ChannelPattern(by="batchnorm"))
    assert small.get_layer("bn").gamma.numpy().tolist() == [-3.0, 2.0]


def test_scores_of_the_user_decide(k):
    model = k.Sequential([k.Input((3,)), k.layers.Dense(4, name="d"), k.layers.Dense(2)])
    pattern = ChannelPattern(by=lambda path, layer: np.arange(layer.units))
    small = prune_model(model, 0.5, pattern=pattern)
    kept = model.get_layer("d").kernel.numpy()[:, 2:]
    assert np.array_equal(small.get_layer("d").kernel.numpy(), kept)
    with pytest.raises(InputError, match=r"shape \(1,\) for layer 'd' with 4 channels"):
        prune_model(model, 0.5, pattern=ChannelPattern(by=lambda path, layer: [1.0]))


def test_global_takes_more_from_the_weak_layers(k):
    layers = [k.layers.Dense(100, name="a"), k.layers.Dense(100, name="b"), k.layers.Dense(2)]
    model = k.Sequential([k.Input((50,)), *layers])
    spread = model.get_layer("a").kernel.numpy() * np.linspace(0.01, 2, 100)
    model.get_layer("a").kernel.assign(spread)
    small = prune_model(model, 0.3, pattern="channel", strategy="global")
    assert small.get_layer("a").units + small.get_layer("b").units == 140
    assert small.get_layer("a").units < 60


def test_kept_channels_are_rounded_up_to_a_multiple(k):
    model = k.Sequential([k.Input((8, 8, 3)), k.layers.Conv2D(40, 3, name="c"), k.layers.Conv2D(2, 1)])
    assert prune_model(model, 0.5, pattern=ChannelPattern(multiple_of=8)).get_layer("c").filters == 24


def test_nested_models_shrink_inside(k):
    inner_inputs = k.Input((16, 16, 3))
    inner = k.Model(inner_inputs, residual(k, conv(k, inner_inputs, 10, name="first")), name="backbone")
    h = k.layers.GlobalAveragePooling2D()(inner(inputs := k.Input((16, 16, 3))))
    model = with_dead_channels(k.Model(inputs, k.layers.Dense(5, name="head")(h)))
    small = prune_model(model, 0.4, pattern="channel")
    assert small.get_layer("backbone").get_layer("first").filters == 6
    assert np.allclose(small.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-5)


def test_the_report_tells_what_is_tied_and_what_must_stay(k):
    model = net(k, residual)
    rows = channel_report(model, 0.4).rows
    by_layers = {row["layers"]: row for row in rows}
    tied = next(row for name, row in by_layers.items() if name.count(",") == 1)
    assert (tied["channels"], tied["kept"]) == (10, 6)
    assert by_layers["head"]["reason"] == "head has an activation across channels"
    assert by_layers["head"]["kept"] == 5


def test_a_layer_that_is_not_selected_keeps_its_channels_and_those_tied_to_them(k):
    model = net(k, residual)
    first = model.layers[1].name
    rows = channel_report(model, 0.4, skip=first).rows
    tied = next(row for row in rows if first in row["layers"])
    assert (tied["kept"], tied["reason"]) == (10, f"{first} is not selected")


def test_grouped_convolutions_and_channels_before_a_layer_normalization_stay(k):
    inputs = k.Input((8, 8, 3))
    h = k.layers.Conv2D(8, 1, name="before_groups")(inputs)
    h = k.layers.Conv2D(8, 1, groups=2, name="grouped")(h)
    h = k.layers.LayerNormalization(name="norm")(k.layers.Conv2D(8, 1, name="before_norm")(h))
    model = k.Model(inputs, k.layers.Conv2D(2, 1, name="out")(k.layers.Conv2D(8, 1, name="free")(h)))
    rows = {row["layers"]: row for row in channel_report(model, 0.5).rows}
    assert rows["before_groups"]["reason"] == "grouped (Conv2D) needs them all"
    assert rows["before_norm"]["reason"] == "norm (LayerNormalization) needs them all"
    assert rows["free"]["kept"] == 4
    assert prune_model(model, 0.5, pattern="channel").get_layer("free").filters == 4


def test_a_shared_layer_shrinks_once(k, rng):
    shared = k.layers.Dense(10, activation="relu", name="shared")
    a, b = k.Input((4,)), k.Input((4,))
    model = with_dead_channels(
        k.Model([a, b], k.layers.Dense(2)(k.layers.Concatenate()([shared(a), shared(b)])))
    )
    small = prune_model(model, 0.4, pattern="channel")
    x = [rng.random((3, 4)), rng.random((3, 4))]
    assert small.get_layer("shared").units == 6
    assert np.allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)


def test_masks_and_frozen_flags_survive(k):
    model = net(k, residual)
    model.get_layer("hidden").trainable = False
    small = prune_model(prune_model(model, 0.5), 0.4, pattern="channel")
    assert not small.get_layer("hidden").trainable
    zeros = small.get_layer("head").kernel.numpy() == 0
    small.compile("adam", "sparse_categorical_crossentropy")
    small.fit(X, np.arange(3), verbose=0)
    assert np.array_equal(small.get_layer("head").kernel.numpy() == 0, zeros)
    assert zeros.any()


def test_a_layer_whose_name_begins_anothers_is_no_nested_model():
    import tf_keras as k  # Keras 3 allows no slash in names

    inputs = k.Input((8, 8, 3))
    h = k.layers.BatchNormalization(name="Conv/bn")(k.layers.Conv2D(10, 3, name="Conv")(inputs))
    model = k.Model(inputs, k.layers.Dense(2, name="head")(k.layers.ReLU(name="Conv/relu/last")(h)))
    assert prune_model(model, 0.5, pattern="channel").get_layer("Conv").filters == 5


@pytest.mark.parametrize("by", ["norm", "batchnorm"])
def test_numbers_and_activations_between_layers_hand_channels_on(k, by):
    import tensorflow as tf

    relu = tf.nn.relu if k.__name__ == "tf_keras" else k.ops.relu
    inputs = k.Input((8, 8, 3))
    h = k.layers.Conv2D(10, 3, name="a")(inputs)
    h = relu(2 * h) / 3.0
    h = h - k.layers.Conv2D(10, 1, name="b")(k.layers.BatchNormalization(name="bn")(h))
    model = with_dead_channels(k.Model(inputs, k.layers.Dense(2, name="head")(h)))
    small = prune_model(model, 0.4, pattern=ChannelPattern(by=by))
    assert small.get_layer("a").filters == small.get_layer("b").filters == 6
    expected = model.predict(X[:, :8, :8], verbose=0)
    assert np.abs(small.predict(X[:, :8, :8], verbose=0) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_constant_for_each_channel_and_operations_across_channels_keep_them(k):
    import tensorflow as tf

    mean = tf.reduce_mean if k.__name__ == "tf_keras" else k.ops.average
    inputs = k.Input((8, 8, 3))
    h = k.layers.Conv2D(10, 3, name="a")(inputs) * np.arange(10, dtype="float32")
    h = mean(k.layers.Conv2D(10, 3, name="b")(h), axis=1)
    model = k.Model(inputs, k.layers.Dense(2, name="head")(k.layers.Dense(4, name="free")(h)))
    rows = {row["layers"]: row for row in channel_report(model, 0.5).rows}
    assert [row["kept"] for row in rows.values()] == [10, 10, 2, 2]
    assert "needs them all" in rows["a"]["reason"] and "needs them all" in rows["b"]["reason"]
    assert prune_model(model, 0.5, pattern="channel").get_layer("free").units == 2


def test_the_report_refuses_what_prune_model_refuses(k):
    with pytest.raises(InputError, match=r"fraction in \[0, 1\). Received: sparsity=40"):
        channel_report(net(k, residual), 40)


def test_a_model_with_nothing_to_remove_says_why(k):
    model = k.Sequential([k.Input((4,)), k.layers.Dense(3, name="only")])
    with pytest.raises(ModelError, match="only: they reach a model output"):
        prune_model(model, 0.5, pattern="channel")


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"sparsity": 1.5}, "Received: sparsity=1.5"),
        ({"sparsity": "0.4"}, "Received: sparsity='0.4'"),
        ({"threshold": 0.5}, "nor a pattern"),
        ({"sparsity": 0.4, "schedule": Schedule(0.4)}, "not on a schedule, for the shape changes"),
        ({"sparsity": 0.5, "strategy": "best"}, "strategy='best'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    import keras

    with pytest.raises(InputError, match=message):
        prune_model(net(keras, residual), pattern="channel", **arguments)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"by": "size"}, "by='size'"),
        ({"multiple_of": 0}, "multiple_of=0"),
        ({"multiple_of": 2.5}, "multiple_of=2.5"),
    ],
)
def test_a_wrong_pattern_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        ChannelPattern(**options)


@pytest.mark.parametrize("kind", ["ActivityRegularization", "AlphaDropout", "Dropout", "Identity"])
def test_what_does_nothing_at_inference_hands_channels_on(k, kind):
    if not hasattr(k.layers, kind):
        pytest.skip(f"this Keras has no {kind}")
    idle = getattr(k.layers, kind)(*([0.1] if kind.endswith("Dropout") else []))
    inputs = k.layers.Input((8, 8, 3))
    h = k.layers.Conv2D(8, 3, name="first")(inputs)
    model = k.Model(inputs, k.layers.Conv2D(2, 3)(idle(h)))
    assert prune_model(model, 0.5, pattern="channel").get_layer("first").filters == 4
