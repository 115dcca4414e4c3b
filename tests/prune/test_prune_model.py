"""`prune_model`: the zeros are the right ones and stay through training, saving and copying."""

import subprocess
import sys

import numpy as np
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.masks.masking import mask_of, value_of, weights_in
from keras_trt.errors import InputError, ModelError
from keras_trt.models.load_model import load_model
from keras_trt.models.save_model import save_model
from keras_trt.models.strip import strip
from keras_trt.prune import Schedule, prune_model, reapply, rebind, sparsity_report
from keras_trt.prune.masks import is_n_of_m
from keras_trt.quantize import quantize_model

FLAT = np.random.default_rng(0).random((32, 4), dtype="float32")
X = np.random.default_rng(0).random((32, 8, 8, 16), dtype="float32")
Y = np.random.default_rng(1).integers(0, 5, 32)


def small(k, **dense):
    inputs = k.Input((8, 8, 16))
    h = k.layers.Conv2D(16, 3, name="conv", use_bias=False)(inputs)
    h = k.layers.BatchNormalization(name="bn")(h)
    h = k.layers.DepthwiseConv2D(3, name="depthwise")(k.layers.ReLU()(h))
    h = k.layers.SeparableConv2D(8, 3, padding="same", name="separable")(h)
    h = k.layers.GlobalAveragePooling2D()(h)
    return k.Model(inputs, k.layers.Dense(5, activation="softmax", name="head", **dense)(h))


def zeros(model):
    """Fraction of zeros by path and attribute."""
    flavor = flavor_of(model)
    return {f"{p}.{kn.name}": float((value_of(v) == 0).mean()) for p, _, kn, v in weights_in(flavor, model)}


def fit(model, k, **options):
    model.compile(k.optimizers.Adam(0.01), "sparse_categorical_crossentropy", **options)
    model.fit(X, Y, epochs=2, batch_size=16, verbose=0)
    return model


def test_sparsity_is_reached_in_every_layer_to_the_weight(k):
    pruned = zeros(prune_model(small(k), 0.8))
    assert pruned.pop("depthwise." + next(n for n in pruned if n.startswith("depthwise.")).split(".")[1]) == 0
    assert pruned.pop("separable.depthwise_kernel") == 0
    assert pruned == {
        "conv.kernel": round(0.8 * 2304) / 2304,
        "separable.pointwise_kernel": round(0.8 * 128) / 128,
        "head.kernel": 0.8,
    }


def test_the_argument_is_not_changed(k):
    model = small(k)
    before = model.get_weights()
    prune_model(model, 0.9)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert model.get_layer("conv").kernel.constraint is None


@pytest.mark.parametrize(
    "options", [{}, {"jit_compile": True}, {"jit_compile": False}, {"run_eagerly": True}]
)
def test_zeros_hold_through_fit_and_the_other_weights_train(k, options):
    pruned = prune_model(small(k), threshold=0.5)
    before = zeros(pruned)
    start = value_of(pruned.get_layer("conv").kernel).copy()
    fit(pruned, k, **options)
    assert zeros(pruned) == before
    assert before["conv.kernel"] > 0.2
    moved = value_of(pruned.get_layer("conv").kernel)
    assert np.array_equal(moved == 0, start == 0)
    assert np.abs(moved - start).max() > 1e-3


def test_summary_and_weight_names_stay(k):
    model = small(k)
    pruned = prune_model(model, 0.5)
    assert [w.name for w in pruned.weights] == [w.name for w in model.weights]
    assert [type(layer) for layer in pruned.layers] == [type(layer) for layer in model.layers]
    assert pruned.count_params() == model.count_params()


def test_zeros_hold_under_mixed_precision(k):
    k.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        pruned = prune_model(small(k), 0.7)
    finally:
        k.mixed_precision.set_global_policy("float32")
    before = zeros(pruned)
    assert zeros(fit(pruned, k)) == before


def test_zeros_hold_in_a_hand_written_loop(k):
    import tensorflow as tf

    pruned = prune_model(small(k), 0.7)
    before = zeros(pruned)
    optimizer = k.optimizers.SGD(0.1)
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(pruned(X) ** 2)
        gradients = tape.gradient(loss, pruned.trainable_variables)
        optimizer.apply_gradients(zip(gradients, pruned.trainable_variables, strict=True))
    assert zeros(pruned) == before


def test_a_file_loaded_by_keras_alone_trains_on_with_its_zeros(k, tmp_path):
    pruned = fit(prune_model(small(k), 0.7), k)
    pruned.save(tmp_path / "m.keras")
    loaded = k.models.load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(X, verbose=0), pruned.predict(X, verbose=0))
    before = zeros(loaded)
    loaded.fit(X, Y, verbose=0)
    assert zeros(loaded) == before == zeros(pruned)


def test_an_unbound_mask_in_an_eager_step_raises_instead_of_losing_zeros(k):
    model = prune_model(small(k), 0.7)
    copy = k.models.clone_model(model)
    copy.set_weights(model.get_weights())
    with pytest.raises(ModelError, match=r"not bound.*keras_trt.prune.rebind"):
        fit(copy, k, run_eagerly=True)


def test_rebind_makes_a_copy_hold_its_zeros_in_eager_steps(k):
    model = prune_model(small(k), 0.7)
    copy = k.models.clone_model(model)
    copy.set_weights(model.get_weights())
    rebind(copy)
    assert zeros(fit(copy, k, run_eagerly=True)) == zeros(model)


def test_rebind_takes_the_zeros_of_newly_loaded_weights(k):
    model = prune_model(small(k), 0.5)
    denser = prune_model(model, 0.9)
    model.set_weights(denser.get_weights())
    rebind(model)
    assert zeros(fit(model, k)) == zeros(denser)


def test_a_constraint_of_the_user_is_kept(k):
    pruned = fit(prune_model(small(k, kernel_constraint=k.constraints.MaxNorm(0.1)), 0.5), k)
    kernel = value_of(pruned.get_layer("head").kernel)
    assert (kernel == 0).mean() == 0.5
    assert np.linalg.norm(kernel, axis=0).max() < 0.1001


def test_two_of_four_runs_along_the_input_channels_and_reports_the_rest(k):
    model = small(k)
    pruned = fit(prune_model(model, pattern="2:4"), k)
    assert is_n_of_m(value_of(pruned.get_layer("conv").kernel), 2, 4, axis=2)
    assert zeros(pruned)["conv.kernel"] == 0.5
    assert zeros(pruned)["head.kernel"] == 0  # 5 outputs do not pay


def test_two_of_four_by_hand_takes_a_layer_where_it_would_not_pay(k):
    pruned = prune_model(small(k), pattern="2:4", only="head")
    assert is_n_of_m(value_of(pruned.get_layer("head").kernel), 2, 4, axis=0)
    assert zeros(pruned)["conv.kernel"] == 0


def test_blocks_run_over_the_matrix_of_inputs_and_outputs(k):
    pruned = prune_model(small(k), 0.5, pattern=(4, 8), only="conv")
    mask = value_of(pruned.get_layer("conv").kernel).reshape(-1, 16) != 0
    blocks = mask.reshape(36, 4, 2, 8).transpose(0, 2, 1, 3).reshape(72, 32)
    assert set(blocks.sum(1)) == {0, 32}
    assert (blocks.sum(1) == 0).mean() == 0.5


def test_sizes_and_amounts_of_numpy_are_taken(k):
    pruned = zeros(prune_model(small(k), np.float32(0.5), pattern=tuple(np.array([2, 4])), only="conv"))
    assert pruned["conv.kernel"] == 0.5


def test_averaged_weights_are_zero_where_the_masks_are(k):
    pruned = prune_model(small(k), 0.5)
    pruned.compile(k.optimizers.Adam(0.01, use_ema=True), "sparse_categorical_crossentropy")
    pruned.fit(X, Y, epochs=2, batch_size=16, verbose=0)  # ends with the averages as weights
    assert zeros(pruned)["conv.kernel"] == 0.5


def test_weights_that_somebody_else_wrote_are_zero_again_after_one_call(k):
    pruned = prune_model(small(k), 0.5)
    kernel = pruned.get_layer("conv").kernel
    written = kernel.numpy() + 1
    kernel.assign(written)
    assert zeros(reapply(pruned))["conv.kernel"] == 0.5
    kept = kernel.numpy()
    assert np.array_equal(kept[kept != 0], written[kept != 0])


def test_pruning_twice_adds_zeros_and_drops_none(k):
    once = prune_model(small(k), 0.5)
    twice = prune_model(once, 0.5, pattern=(4, 4), only="conv")
    a, b = (value_of(m.get_layer("conv").kernel) for m in (once, twice))
    assert (b[a == 0] == 0).all()
    assert (b == 0).sum() > (a == 0).sum()
    assert zeros(prune_model(once, 0.8))["conv.kernel"] == round(0.8 * 2304) / 2304


def test_only_and_skip_choose_layers(k):
    assert zeros(prune_model(small(k), 0.5, skip="head"))["head.kernel"] == 0
    chosen = zeros(prune_model(small(k), 0.5, only=["depthwise"]))
    assert [name.split(".")[0] for name, z in chosen.items() if z] == ["depthwise"]


def test_nested_models_are_pruned(k):
    inner = k.Sequential([k.Input((8, 8, 16)), k.layers.Conv2D(8, 3, name="inside")], name="backbone")
    model = k.Sequential(
        [k.Input((8, 8, 16)), inner, k.layers.Flatten(), k.layers.Dense(5, activation="softmax")]
    )
    pruned = fit(prune_model(model, 0.75), k)
    assert zeros(pruned)["backbone/inside.kernel"] == 0.75


def subclassed(k):
    @k.saving.register_keras_serializable(package="test_prune_model", name=f"Net_{k.__name__}")
    class Net(k.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.hidden = k.layers.Dense(8, activation="relu", name="hidden")
            self.body = k.Sequential([k.layers.Dense(8, name="inside")], name="body")
            self.head = k.layers.Dense(5, activation="softmax", name="head")

        def call(self, x):
            return self.head(self.body(self.hidden(x)))

    return Net


def test_layers_without_a_config_of_their_own_keep_their_names(k):
    class Block(k.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.hidden = k.layers.Dense(32, name="hidden")

        def call(self, x):
            return self.hidden(x)

    inputs = k.Input((16,))
    inner = k.Model(inputs, Block(name="deep")(inputs), name="inner")
    inputs = k.Input((16,))
    shared = Block(name="outer")
    model = k.Model(inputs, [inner(inputs), shared(inputs), shared(2 * inputs)])
    pruned = prune_model(model, 0.5, only="outer/hidden")
    assert zeros(pruned) == {"inner/deep/hidden.kernel": 0.0, "outer/hidden.kernel": 0.5}
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in model.layers]


def test_a_model_inside_that_has_no_config_is_pruned(k):
    class Block(k.Model):
        def __init__(self, units=3):
            super().__init__(name="fixed")
            self.hidden = k.layers.Dense(units, name="hidden")

        def call(self, x):
            return self.hidden(x)

    inputs = k.Input((16,))
    assert zeros(prune_model(k.Model(inputs, Block()(inputs)), 0.5)) == {"fixed/hidden.kernel": 0.5}


def test_a_subclassed_model_is_pruned(k):
    model = subclassed(k)()
    model(FLAT[:1])
    pruned = prune_model(model, 0.5)
    assert zeros(model) == dict.fromkeys(zeros(model), 0.0)
    assert zeros(pruned) == dict.fromkeys(zeros(pruned), 0.5)
    pruned.compile("adam", "sparse_categorical_crossentropy")
    pruned.fit(FLAT, Y, verbose=0)
    assert zeros(pruned) == dict.fromkeys(["hidden.kernel", "body/inside.kernel", "head.kernel"], 0.5)


def test_tied_embeddings_are_pruned_once_when_named(k, rng):
    class Tied(k.layers.Layer):
        """Reads tokens and predicts them with the same table."""

        def build(self, input_shape):
            self.table = k.layers.Embedding(20, 8, name="table")
            self.table.build(input_shape)
            super().build(input_shape)

        def call(self, tokens):
            import tensorflow as tf

            return tf.matmul(
                self.table(tokens), tf.convert_to_tensor(self.table.embeddings), transpose_b=True
            )

    model = k.Sequential([k.Input((6,), dtype="int32"), Tied(name="tied"), k.layers.Dense(4, name="head")])
    assert zeros(prune_model(model, 0.5)) == {"tied/table.embeddings": 0.0, "head.kernel": 0.5}
    pruned = prune_model(model, 0.5, only="tied/table")
    pruned.compile("adam", "mse")
    pruned.fit(rng.integers(0, 20, (8, 6)), rng.random((8, 6, 4)), verbose=0)
    assert zeros(pruned) == {"tied/table.embeddings": 0.5, "head.kernel": 0.0}


def test_a_shared_layer_is_pruned_once(k):
    shared = k.layers.Dense(8, name="shared")
    a, b = k.Input((8,)), k.Input((8,))
    model = k.Model([a, b], k.layers.Add()([shared(a), shared(b)]))
    assert zeros(prune_model(model, 0.5)) == {"shared.kernel": 0.5}


def test_recurrent_and_attention_weights_are_pruned_and_survive_a_file(k, tmp_path, rng):
    inputs = k.Input((4, 8))
    h = k.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    h = k.layers.Bidirectional(k.layers.LSTM(4, name="lstm"), name="both")(h)
    model = k.Model(inputs, k.layers.Dense(5, activation="softmax")(h))
    pruned = prune_model(model, 0.5)
    before = zeros(pruned)
    assert len(before) == 9
    assert all(z == 0.5 for z in before.values())
    pruned.save(tmp_path / "m.keras")
    loaded = k.models.load_model(tmp_path / "m.keras")
    rebind(loaded)
    loaded.compile("adam", "sparse_categorical_crossentropy")
    loaded.fit(rng.random((8, 4, 8)), rng.integers(0, 5, 8), verbose=0)
    assert zeros(loaded) == before


def test_masks_inside_custom_and_attention_layers_come_back_from_a_file(k, tmp_path, rng):
    @k.saving.register_keras_serializable("masks_inside")
    class Block(k.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.hidden = k.layers.Dense(8, name="hidden")

        def build(self, shape):
            self.hidden.build(shape)
            super().build(shape)

        def call(self, x):
            return self.hidden(x)

    inputs = k.Input((4, 8))
    h = k.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = k.Model(inputs, k.layers.Dense(5, activation="softmax")(Block(name="block")(h)))
    pruned = prune_model(prune_model(model, 0.5), 0.75, only="attention/query")
    save_model(pruned, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    for copy in (pruned, loaded, quantize_model(loaded, verbose=0)):
        told = [(row["target"], row["sparsity"]) for row in sparsity_report(copy).rows]
        assert told == [(0.75, 0.75)] + [(0.5, 0.5)] * 5
    before = zeros(loaded)
    loaded.compile("adam", "sparse_categorical_crossentropy")
    loaded.fit(rng.random((8, 4, 8)), rng.integers(0, 5, (8, 4)), verbose=0)
    assert zeros(loaded) == before


def test_a_frozen_layer_is_pruned_too(k):
    model = small(k)
    model.get_layer("conv").trainable = False
    assert zeros(fit(prune_model(model, 0.5), k))["conv.kernel"] == 0.5


def test_sparsity_zero_changes_nothing(k):
    model = small(k)
    pruned = prune_model(model, 0.0)
    assert all(np.array_equal(a, b) for a, b in zip(pruned.get_weights(), model.get_weights(), strict=True))


def test_mask_of_is_none_for_weights_that_are_not_pruned(k):
    pruned = prune_model(small(k), 0.5, only="conv")
    flavor = flavor_of(pruned)
    assert mask_of(flavor, pruned.get_layer("head").kernel) is None
    assert (~mask_of(flavor, pruned.get_layer("conv").kernel)).mean() == 0.5


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({}, "Say how much to prune"),
        ({"sparsity": 1.0}, r"fraction in \[0, 1\).*Received: sparsity=1.0"),
        ({"sparsity": -0.1}, "Received: sparsity=-0.1"),
        ({"sparsity": "half"}, r"fraction in \[0, 1\).*Received: sparsity='half'"),
        ({"sparsity": [0.5]}, r"Received: sparsity=\[0.5\]"),
        ({"threshold": "1"}, "Received: threshold='1'"),
        ({"threshold": 0.5, "strategy": "global"}, "a `threshold` decides in every layer"),
        ({"pattern": "2:4", "sparsity": "half"}, "Received: sparsity='half'"),
        ({"sparsity": 0.5, "threshold": 0.5}, "neither `sparsity` nor a pattern"),
        ({"threshold": -1.0}, "Received: threshold=-1"),
        ({"threshold": 50.0}, r"would zero all of layer 'conv'.*skip='conv'"),
        ({"sparsity": 0.3, "pattern": "2:4"}, "means a sparsity of 0.5"),
        ({"pattern": "4:2"}, "0 < n < m"),
        ({"pattern": "diagonal"}, "Received: pattern='diagonal'"),
        ({"sparsity": 0.5, "pattern": (0, 4)}, "positive integers"),
        ({"sparsity": 0.5, "pattern": (4, 4), "pooling": "min"}, "Received: pooling='min'"),
        ({"sparsity": 0.5, "schedule": Schedule(0.5)}, "leave the amount out"),
        ({"schedule": lambda step: 0.5}, "give others to `callbacks.Prune`"),
        ({"sparsity": 0.5, "only": "cnv"}, "Close names: conv"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    import keras

    with pytest.raises(InputError, match=message):
        prune_model(small(keras), **arguments)


def test_nan_weights_are_refused_with_the_layers_name(k):
    model = small(k)
    model.get_layer("conv").kernel.assign(np.full((3, 3, 16, 16), np.nan))
    with pytest.raises(ModelError, match=r"layer 'conv' \(kernel\) hold NaN"):
        prune_model(model, 0.5)


def test_a_model_where_the_pattern_fits_nowhere_says_why(k):
    model = k.Sequential([k.Input((6,)), k.layers.Dense(8, name="d")])
    with pytest.raises(ModelError, match="d: 6 input channels are not a multiple of 4"):
        prune_model(model, pattern="2:4")


def test_a_layer_too_small_for_its_pattern_is_left_alone_and_the_report_says_so(k):
    layers = [k.layers.Dense(8, name="wide"), k.layers.Dense(2, name="narrow"), k.layers.Dense(1, name="one")]
    model = k.Sequential([k.Input((8,)), *layers])
    pruned = prune_model(model, 0.5, pattern=(4, 4))
    assert zeros(pruned) == {"wide.kernel": 0.5, "narrow.kernel": 0.0, "one.kernel": 0.0}
    found = {row["weight"]: row["tensorrt"] for row in sparsity_report(pruned).rows}
    assert found["narrow.kernel"] == "not pruned: a 8x2 matrix is too small for 4x4 blocks"
    with pytest.raises(ModelError, match="narrow: a 8x2 matrix is too small for 4x4 blocks"):
        prune_model(model, 0.5, pattern=(4, 4), only="narrow")


def test_tiny_layers_are_off_by_one_weight_at_most_and_keep_one(k):
    layers = [k.layers.Dense(3, name="a"), k.layers.Dense(1, name="b"), k.layers.Dense(1, name="c")]
    pruned = zeros(prune_model(k.Sequential([k.Input((2,)), *layers]), 0.9))
    assert pruned == {"a.kernel": 5 / 6, "b.kernel": 2 / 3, "c.kernel": 0.0}


def test_a_model_without_weights_says_so(k):
    with pytest.raises(ModelError, match="no layer with weights"):
        prune_model(k.Sequential([k.Input((6,)), k.layers.ReLU()]), 0.5)


def test_strip_leaves_the_zeros_and_takes_the_masks_off(k, tmp_path):
    pruned = prune_model(small(k, kernel_constraint=k.constraints.MaxNorm(2.0)), 0.5)
    plain = strip(pruned)
    assert zeros(plain) == zeros(pruned)
    assert type(plain.get_layer("head").kernel.constraint) is k.constraints.MaxNorm
    assert plain.get_layer("conv").kernel.constraint is None
    assert zeros(fit(plain, k))["conv.kernel"] < 0.1


FRESH = """
import sys, numpy as np, keras_trt
for name in ("keras3", "legacy"):
    model = keras_trt.load_model(f"{sys.argv[1]}/{name}.keras")
    kernel = model.get_layer("conv").kernel
    model.fit(np.random.default_rng(0).random((8, 8, 8, 16)), np.arange(8) % 5, verbose=0)
    assert (kernel.numpy() == 0).mean() == 0.75, (kernel.numpy() == 0).mean()
"""


def test_a_fresh_process_loads_the_file_and_trains_on_with_its_zeros(tmp_path):
    import keras
    import tf_keras

    for name, k in (("keras3", keras), ("legacy", tf_keras)):
        pruned = prune_model(small(k), 0.75)
        pruned.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
        pruned.save(tmp_path / f"{name}.keras")
    done = subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
