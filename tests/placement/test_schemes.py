from __future__ import annotations

import numpy as np
import pytest

from keras_trt._keras.backends import tensorflow_ops as ops
from keras_trt.errors import InputError
from keras_trt.models.load_model import load_model
from keras_trt.models.save_model import save_model
from keras_trt.placement.schemes import FP8, Int4Weights, Int8, Scheme, scheme_named, schemes_by_choice
from keras_trt.quantize import calibrate, plan_quantization, quantize_model
from keras_trt.quantize.inventory import inventory
from keras_trt.twins.fake_quant import fake_quantize, quantize_weights
from tests.nets import compiled, images, residual_net


def dense_net(k, width=64):
    inputs = k.Input((width,))
    x = k.layers.Dense(width, activation="relu", name="a")(inputs)
    return k.Model(inputs, k.layers.Dense(4, name="b")(x))


@pytest.mark.parametrize("name", ["int8", "int8-weights", "fp8", "int4-weights"])
def test_names_resolve_to_schemes_that_know_their_name(name):
    assert scheme_named(name).name == name
    assert scheme_named(scheme_named(name)) is scheme_named(name)


def test_contradictions_are_refused():
    with pytest.raises(InputError, match="Weights and activations go together"):
        Scheme("int8", "fp8")
    with pytest.raises(InputError, match="block of 32, 64, 128, or an even number from 8 on.*block=7"):
        Int4Weights(7)
    with pytest.raises(InputError, match="others none"):
        Scheme(block=32)
    with pytest.raises(InputError, match="momentum"):
        Int8(momentum=1.0)
    with pytest.raises(InputError, match="empty mapping"):
        schemes_by_choice({})


def test_fp8_weights_are_e4m3_numbers_times_the_scale():
    import ml_dtypes
    import tensorflow as tf

    w = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    got = quantize_weights(ops, tf.constant(w), (1,), "fp8").numpy()
    scale = np.abs(w).max(axis=0) / 448
    np.testing.assert_allclose(
        got, (w / scale).astype(ml_dtypes.float8_e4m3fn).astype("f4") * scale, rtol=1e-6
    )


def test_int4_weights_have_fifteen_levels_per_block_and_channel():
    import tensorflow as tf

    w = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    got = quantize_weights(ops, tf.constant(w), (1,), "int4", 32).numpy().reshape(2, 32, 3)
    scale = np.abs(w).reshape(2, 32, 3).max(axis=1, keepdims=True) / 7
    steps = got / scale
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-5)
    assert np.abs(steps).max() == pytest.approx(7)
    assert np.abs(got.reshape(64, 3) - w).max() <= scale.max() / 2 + 1e-6


@pytest.mark.parametrize("dtype", ["int8", "fp8"])
def test_gradients_pass_inside_the_range_only(dtype):
    import tensorflow as tf

    x = tf.constant([-3.0, -1.0, 0.3, 1.9, 2.5])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = fake_quantize(ops, x, tf.constant(2.0), dtype)
    assert tape.gradient(y, x).numpy().tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("amax", [1e-6, 0.37, 3.0, 1e6])
def test_gradients_pass_up_to_the_last_float_inside_the_range(jit_compile, amax):
    import tensorflow as tf

    amax = np.float32(amax)
    beyond = np.nextafter(amax, np.float32(np.inf))
    x = tf.constant([amax, -amax, beyond, -beyond, 0.0, -0.0, np.inf])

    @tf.function(jit_compile=jit_compile)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = fake_quantize(ops, x, tf.constant(amax))
        return tape.gradient(y, x)

    assert gradient(x).numpy().tolist() == [1, 1, 0, 0, 1, 1, 0]


def test_a_learned_range_grows_when_clipped_values_should_be_larger():
    import tensorflow as tf

    x, amax = tf.constant([5.0, -5.0, 0.5]), tf.constant(2.0)
    with tf.GradientTape() as tape:
        tape.watch(amax)
        loss = tf.reduce_sum((fake_quantize(ops, x, amax, learned=True) - x) ** 2)
    assert tape.gradient(loss, amax).numpy() < 0


def test_learned_ranges_are_trained(k):
    x, y = images()
    model = quantize_model(residual_net(k), Int8(learned_ranges=True), calibration_data=x, verbose=0)
    before = [t.amax for t in inventory(model) if t.amax]
    compiled(k, model).fit(x, y, epochs=2, verbose=0)
    after = [t.amax for t in inventory(model) if t.amax]
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert any("amax" in w.name for w in model.trainable_weights)


def test_learned_ranges_start_from_the_first_batch_without_calibration(k):
    x, y = images(32)
    model = compiled(k, quantize_model(residual_net(k), Int8(learned_ranges=True)))
    model.fit(x, y, verbose=0)
    stem = next(t for t in inventory(model) if t.layer == "stem" and t.kind == "activation")
    assert stem.amax == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("scheme", ["int8-weights", "fp8", "int4-weights"])
def test_every_scheme_trains_and_survives_a_file(k, scheme, tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    y = np.random.default_rng(0).integers(0, 4, 64)
    model = quantize_model(dense_net(k), scheme)
    if scheme == "fp8":
        calibrate(model, x, verbose=0)
    loss = k.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    history = model.fit(x, y, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    save_model(model, tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert inventory(loaded) == inventory(model)


def test_weight_only_schemes_quantise_no_activation(k):
    for scheme in ("int8-weights", "int4-weights"):
        kinds = {t.kind for t in inventory(quantize_model(dense_net(k), scheme))}
        assert kinds == {"weight"}


def test_schemes_say_what_they_leave_float(k):
    rows = {row["layer"]: row for row in plan_quantization(residual_net(k), "int4-weights").rows}
    assert rows["stem"]["reason"] == "TensorRT takes int4 weights in matrix products only"
    assert rows["add"]["reason"] == "int4-weights quantises weights only"
    rows = {row["layer"]: row for row in plan_quantization(residual_net(k), "fp8").rows}
    assert "fp8, no more" in rows["average"]["reason"]
    assert rows["add"]["scheme"] == "fp8"
    rows = {row["layer"]: row for row in plan_quantization(dense_net(k, 39), "int4-weights").rows}
    assert rows["a"]["reason"] == "its 39 inputs divide into no even blocks of 8 to 32"


@pytest.mark.parametrize(
    ("width", "block"), [(48, 24), (144, 24), (40, 20), (100, 20), (64, 32), (8, 8), (36, 18)]
)
def test_int4_blocks_are_as_large_as_divide_the_inputs(k, width, block):
    found = {t.layer: t.block for t in inventory(quantize_model(dense_net(k, width), "int4-weights"))}
    assert found["a"] == block


@pytest.mark.parametrize("equation", ["abcd,cde->abe", "abcd,edc->abe", "abcd,dec->abe"])
def test_int4_blocks_run_over_all_inputs_of_an_einsum(k, equation):
    inputs = k.Input((1, 4, 16))
    layer = k.layers.EinsumDense(equation, output_shape=(None, 24), name="project")
    model = quantize_model(k.Model(inputs, layer(inputs)), "int4-weights")
    assert [t.layer for t in inventory(model)] == ["project"]
    letters = equation[5:8]
    kernel = layer.kernel.numpy().transpose([letters.index(i) for i in sorted(letters, key="cde".index)])
    # An input that picks one weight of each column gives the kernel that the layer computes with; the inputs
    # of a block are neighbours in the order in which the kernel has them.
    order = [i for i in letters if i != "e"]
    picked = np.eye(64, dtype="float32").reshape(64, 1, 4, 16)
    computed = model.predict(picked, verbose=0).reshape(4, 16, 24)
    rounded, exact = (w if order == ["c", "d"] else w.swapaxes(0, 1) for w in (computed, kernel))
    rounded, exact = (w.reshape(2, 32, 24) for w in (rounded, exact))
    scale = np.abs(exact).max(axis=1, keepdims=True) / 7
    np.testing.assert_allclose(rounded, np.round(exact / scale) * scale, atol=1e-6)


def test_int4_counts_heads_times_width_as_the_inputs_of_an_attention_output(k):
    inputs = k.Input((9, 64))
    attended = k.layers.MultiHeadAttention(4, 16, name="mha")(inputs, inputs)
    rows = {row["layer"]: row for row in plan_quantization(k.Model(inputs, attended), "int4-weights").rows}
    assert rows["mha/attention_output"]["scheme"] == "int4-weights"
    narrow = k.layers.MultiHeadAttention(3, 16, name="mha")(inputs, inputs)
    found = inventory(quantize_model(k.Model(inputs, narrow), "int4-weights"))
    assert {t.layer: t.block for t in found}["mha/attention_output"] == 24


def test_a_mapping_gives_each_layer_its_scheme(k):
    model = quantize_model(dense_net(k), {"b": FP8(), ".*": "int8"})
    assert {t.layer: t.format for t in inventory(model)} == {"a": "int8", "b": "fp8"}
    rows = {row["layer"]: row for row in plan_quantization(dense_net(k), {"b": "fp8"}).rows}
    assert rows["a"]["reason"] == "no scheme is chosen for it"
    with pytest.raises(InputError, match="matches no layer"):
        quantize_model(dense_net(k), {"c": "int8"})
