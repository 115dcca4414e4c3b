"""Reading models that TF-MOT has wrapped."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

import keras_trt
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._keras.masks import masking
from keras_trt.errors import ModelError
from keras_trt.tfmot.wrapped import LearnedRange, is_wrapped, unwrap
from tests.nets import residual_net
from tests.tfmot_models import (
    chain_net,
    fitted,
    float_net,
    kernel_zeros,
    predict,
    pruned,
    pruning,
    qat,
    quadrants,
    stock_quantized,
    tfmot,
)


@pytest.fixture(scope="module")
def net():
    return float_net()


@pytest.fixture(scope="module")
def quantized(net):
    return stock_quantized(net)


def unwrapped(model):
    return unwrap(flavor_of(model), model)


def masks(model):
    """{path.kernel: share of masked weights} of the variables with a mask."""
    flavor = flavor_of(model)
    found = {}
    for path, _, kernel, variable in masking.weights_in(flavor, model):
        mask = masking.mask_of(flavor, variable)
        if mask is not None:
            found[f"{path}.{kernel.name}"] = float(1 - mask.mean())
    return found


def test_wrapped_models_are_told_from_plain_ones(net, quantized):
    flavor = flavor_of(net)
    assert not is_wrapped(flavor, net)
    assert is_wrapped(flavor, quantized)
    assert is_wrapped(flavor, qat.quantize_annotate_model(net))


def test_layers_get_their_own_names_classes_and_activations_back(net, quantized):
    plain = unwrapped(quantized).model
    names = [layer.name for layer in plain.layers]
    for layer in net.layers:
        if layer.name == "separable":  # TF-MOT splits it in two, for good
            assert {"depthwise_conv2d", "conv2d"} <= {n.rstrip("_0123456789") for n in names}
            continue
        twin = plain.get_layer(layer.name)
        assert type(twin) is type(layer)
        assert getattr(twin, "activation", None) is getattr(layer, "activation", None)
    assert not is_wrapped(flavor_of(plain), plain)


def test_float_weights_are_copied_as_trained(quantized):
    plain = unwrapped(quantized).model
    wrapped = quantized.get_layer("quant_strided")
    kernel = next(w for w in wrapped.weights if w.name == "strided/kernel:0")
    assert np.array_equal(plain.get_layer("strided").kernel.numpy(), kernel.numpy())
    statistics = quantized.get_layer("quant_stem_bn").layer.moving_mean.numpy()
    assert np.array_equal(plain.get_layer("stem_bn").moving_mean.numpy(), statistics)
    assert np.any(statistics != 0)


def test_the_users_model_is_left_as_it_was(quantized):
    before, weights = predict(quantized), quantized.get_weights()
    plain = unwrapped(quantized).model
    plain.set_weights([w * 0 for w in plain.get_weights()])
    assert np.array_equal(predict(quantized), before)
    assert all(np.array_equal(a, b) for a, b in zip(weights, quantized.get_weights(), strict=True))
    fitted(quantized_copy := qat.quantize_model(chain_net()), epochs=1)
    unwrapped(quantized_copy)
    quantized_copy.fit(*quadrants(32), verbose=0)  # it still trains


def test_learned_ranges_are_read_off_every_kind_of_wrapper(quantized):
    found = unwrapped(quantized).ranges
    inputs = quantized.get_layer(
        next(n.name for n in quantized.layers if n.name.startswith("quantize_layer"))
    )
    assert found["input:0"].maximum == pytest.approx(float(inputs.quantizer_vars["max_var"].numpy()))
    assert found["input:0"].minimum == 0.0
    for tensor, name, held in (
        ("stem_relu:0", "quant_stem_relu", "output_max:0"),
        ("strided:0", "quant_strided", "post_activation_max:0"),
    ):
        variable = next(w for w in quantized.get_layer(name).weights if w.name.endswith(held))
        assert found[tensor].maximum == pytest.approx(float(variable.numpy()))
    assert "stem:0" not in found  # a BatchNormalization follows: nothing is quantised between
    assert "probabilities:0" not in found  # softmax is quantised before, not after


def test_a_model_that_was_never_trained_has_learned_no_range(net):
    found = unwrapped(qat.quantize_model(net))
    assert found.ranges == {}
    assert {"stem", "strided", "depthwise", "probabilities"} <= found.weights


def test_the_layers_whose_weights_were_quantised_are_named():
    inputs = tf_keras.Input((4,))
    hidden = qat.quantize_annotate_layer(tf_keras.layers.Dense(4, name="a"))(inputs)
    model = qat.quantize_apply(tf_keras.Model(inputs, tf_keras.layers.Dense(4, name="b")(hidden)))
    assert unwrapped(model).weights == {"a"}


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ({}, "unstructured"),
        ({"sparsity_m_by_n": (2, 4)}, "2:4"),
        ({"sparsity_m_by_n": (3, 4)}, "1:4"),
    ],
)
def test_pruned_models_are_stripped_with_their_zeros_as_masks(net, options, pattern):
    wrapped = pruned(net, **options)
    plain = unwrapped(wrapped).model
    assert np.array_equal(predict(plain), predict(wrapped))
    share = 0.75 if pattern == "1:4" else 0.5
    assert masks(plain)["strided.kernel"] == pytest.approx(share, abs=0.01)
    assert plain.get_layer("strided").kernel_constraint.info["pattern"] == pattern
    fitted(plain, epochs=1)
    assert kernel_zeros(plain.get_layer("strided").kernel) == pytest.approx(share, abs=0.01)
    assert kernel_zeros(plain.get_layer("depthwise").depthwise_kernel) == 0


def test_block_patterns_keep_their_shape():
    model = tf_keras.Sequential([tf_keras.layers.Dense(8, input_shape=(8,), name="d")])
    schedule = pruning.ConstantSparsity(0.5, 0, frequency=1)
    wrapped = pruning.prune_low_magnitude(model, schedule, block_size=(2, 2))
    wrapped.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 8)).astype("float32")
    wrapped.fit(x, x, verbose=0, callbacks=[pruning.UpdatePruningStep()])
    layer = unwrapped(wrapped).model.get_layer("d")
    assert layer.kernel_constraint.info["pattern"] == "2x2"
    assert kernel_zeros(layer.kernel) == 0.5


def test_a_model_whose_pruning_has_not_begun_gets_no_mask(net):
    schedule = pruning.ConstantSparsity(0.5, begin_step=1000)
    assert masks(unwrapped(pruning.prune_low_magnitude(net, schedule)).model) == {}


def test_nested_pruned_models_are_stripped():
    backbone = tf_keras.Sequential([tf_keras.layers.Dense(8, input_shape=(6,), name="a")], name="backbone")
    inputs = tf_keras.Input((6,))
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(4, name="b")(backbone(inputs)))
    schedule = pruning.ConstantSparsity(0.5, 0, frequency=1)
    wrapped = pruning.prune_low_magnitude(model, schedule)
    wrapped.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    wrapped.fit(x, x[:, :4], verbose=0, callbacks=[pruning.UpdatePruningStep()])
    plain = unwrapped(wrapped).model
    assert masks(plain) == {"backbone/a.kernel": 0.5, "b.kernel": 0.5}
    assert np.array_equal(plain.predict(x, verbose=0), wrapped.predict(x, verbose=0))


def test_pruned_models_in_mixed_precision_are_stripped():
    tf_keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        wrapped = pruned(residual_net(tf_keras), epochs=1)
        plain = unwrapped(wrapped).model
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    assert masks(plain)["strided.kernel"] == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(predict(plain), predict(wrapped))


def test_prune_preserving_quantisation_keeps_the_zeros():
    stripped = pruning.strip_pruning(pruned(chain_net()))
    annotated = qat.quantize_annotate_model(stripped)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    model = fitted(qat.quantize_apply(annotated, scheme), epochs=1)
    found = unwrapped(model)
    assert masks(found.model)["pointwise.kernel"] == pytest.approx(0.5, abs=0.02)
    assert kernel_zeros(found.model.get_layer("pointwise").kernel) >= 0.49
    assert "pointwise" in found.weights


def test_frozen_layers_stay_frozen(net):
    net.get_layer("strided").trainable = False
    try:
        plain = unwrapped(qat.quantize_model(net)).model
    finally:
        net.get_layer("strided").trainable = True
    assert not plain.get_layer("strided").trainable
    assert plain.get_layer("stem").trainable


def test_models_that_are_not_done_yet_are_refused(net):
    with pytest.raises(ModelError, match="annotated but not quantised: call tfmot.*quantize_apply"):
        unwrapped(qat.quantize_annotate_model(net))
    clustering = tfmot.clustering.keras
    clustered = clustering.cluster_weights(
        tf_keras.Sequential([tf_keras.layers.Dense(4, input_shape=(4,))]),
        number_of_clusters=4,
        cluster_centroids_init=clustering.CentroidInitialization.LINEAR,
    )
    with pytest.raises(ModelError, match="clustered: call tfmot.*strip_clustering"):
        unwrapped(clustered)


def test_a_range_made_symmetric_costs_what_its_ends_differ():
    relu = LearnedRange(0.0, 6.0, step=6.0 / 255)
    assert relu.amax == 6.0
    assert relu.loss == pytest.approx(255 / 127)
    assert LearnedRange(-6.0, 6.0, step=12.0 / 255).loss == pytest.approx(255 / 254)
    assert LearnedRange(-8.0, 1.0, step=9.0 / 255).union(relu) == LearnedRange(-8.0, 6.0, 9.0 / 255)


@pytest.mark.parametrize("wrap", [qat.quantize_model, pruning.prune_low_magnitude])
def test_the_channels_of_a_wrapped_model_are_those_of_the_plain_one(wrap):
    plain = tf_keras.Sequential(
        [
            tf_keras.layers.Conv2D(8, 3, name="first", input_shape=(8, 8, 3)),
            tf_keras.layers.Conv2D(6, 3, name="second"),
            tf_keras.layers.Flatten(),
            tf_keras.layers.Dense(4, name="logits"),
        ]
    )
    report = keras_trt.prune.channel_report(wrap(plain), 0.5)
    expected = keras_trt.prune.channel_report(plain, 0.5)
    assert [row["channels"] for row in report.rows] == [row["channels"] for row in expected.rows]
    assert sum(row["kept"] for row in report.rows) == sum(row["kept"] for row in expected.rows) == 11


def test_the_log_of_sparsity_agrees_with_itself_on_a_wrapped_model(rng):
    model = tf_keras.Sequential([tf_keras.layers.Dense(8, name="hidden", input_shape=(4,))])
    kernel = rng.normal(size=(4, 8)).astype("float32")
    kernel[:2] = 0
    model.layers[0].set_weights([kernel, np.zeros(8, "float32")])
    wrapped = qat.quantize_model(model)
    logs: dict = {}
    log = keras_trt.callbacks.SparsityLog(per_layer=True)
    log.set_model(wrapped)
    log.on_epoch_end(0, logs)
    assert logs["sparsity"] == logs["sparsity/hidden.kernel"] == 0.5
