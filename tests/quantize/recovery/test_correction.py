"""What rounding takes from the mean and the size of each output channel comes back."""

from __future__ import annotations

import json
import zipfile
from collections import Counter

import numpy as np
import onnx
import pytest

from keras_trt._keras.flavor_of import flavor_of
from keras_trt.errors import InputError
from keras_trt.exporting.export import export
from keras_trt.fuse.fuse_model import fuse_model
from keras_trt.models.load_model import load_model
from keras_trt.models.save_model import save_model
from keras_trt.models.strip import strip
from keras_trt.prune import prune_model
from keras_trt.quantize import calibrate, quantize_model, sensitivity
from keras_trt.quantize.recovery.correction import FEWEST_ROWS, corrected
from keras_trt.twins.twins import set_silent
from tests.nets import images, residual_net

BIAS = ("bias_correction",)


def shifts(model):
    found = corrected(flavor_of(model), model).items()
    return {
        path: np.asarray(layer.quantization_switch.shift) for path, layer in found if layer.bias is not None
    }


def on_grid(values, amax):
    steps = np.clip(np.round(np.asarray(values, np.float64) / amax * 127), -128, 127)
    return steps * (amax / 127)


def one_layer(k, layer, *shape):
    """A model of one layer, and rows whose values are far from zero on average."""
    inputs = k.Input(shape)
    x = np.random.default_rng(4).normal(1, 1, (64, *shape)).astype("float32")
    return k.Model(inputs, layer(inputs)), x


def test_the_correction_is_the_mean_of_what_rounding_changes(k):
    model, x = one_layer(k, k.layers.Dense(5, activation="relu", name="d"), 8)
    quantized = quantize_model(model, calibration_data=x, method="max", recover=BIAS, verbose=0)
    kernel, bias = (np.asarray(w, np.float64) for w in model.get_layer("d").get_weights())
    rounded = on_grid(kernel, np.abs(kernel).max(axis=0))
    lost = (x @ kernel - on_grid(x, np.abs(x).max()) @ rounded).mean(axis=0)
    np.testing.assert_allclose(shifts(quantized)["d"], lost, atol=1e-6)
    expected = np.maximum(on_grid(x, np.abs(x).max()) @ rounded + bias + lost, 0)
    np.testing.assert_allclose(quantized.predict(x, verbose=0), expected, atol=1e-5)


LAYERS = {
    "conv1d": ((12, 4), lambda L, **more: L.Conv1D(6, 3, padding="causal", **more)),
    "depthwise": ((8, 8, 4), lambda L, **more: L.DepthwiseConv2D(3, depth_multiplier=2, **more)),
    "separable": ((8, 8, 4), lambda L, **more: L.SeparableConv2D(6, 3, strides=2, **more)),
    "transpose": ((8, 8, 4), lambda L, **more: L.Conv2DTranspose(6, 3, strides=2, **more)),
    "dense": ((6, 8), lambda L, **more: L.Dense(5, **more)),
}


def layers(k):
    L = k.layers
    return {
        "conv1d": ((12, 4), L.Conv1D(6, 3, padding="causal")),
        "conv2d": ((8, 8, 4), L.Conv2D(6, 3, padding="same", activation="relu")),
        "depthwise": ((8, 8, 4), L.DepthwiseConv2D(3, depth_multiplier=2)),
        "separable": ((8, 8, 4), L.SeparableConv2D(6, 3, strides=2)),
        "transpose": ((8, 8, 4), L.Conv2DTranspose(6, 3, strides=2)),
        "dense": ((6, 8), L.Dense(5)),
        "einsum": ((6, 8), L.EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="e")),
        "time_distributed": ((6, 4), L.TimeDistributed(L.Dense(5))),
    }


def folded(k, inputs):
    """Windows of four steps as rows of their own, as vision transformers attend to them."""
    windows = k.layers.Lambda(lambda x: k.ops.reshape(x, (-1, 4, 4)) if hasattr(k, "ops") else _windows(x))
    return k.layers.Dense(5)(windows(inputs))


def _windows(x):
    import tensorflow as tf

    return tf.reshape(x, (-1, 4, 4))


def called_twice(k, inputs):
    shared = k.layers.Dense(4)
    return shared(shared(inputs))


MANY_ROWS_AT_THE_LAYER = {
    "one row": lambda k, inputs: k.layers.Dense(5)(inputs),
    "steps": lambda k, inputs: k.layers.TimeDistributed(k.layers.Dense(5))(inputs),
    "windows": folded,
    "calls": called_twice,
}


@pytest.mark.parametrize("name", MANY_ROWS_AT_THE_LAYER)
@pytest.mark.parametrize("rows", [FEWEST_ROWS - 1, FEWEST_ROWS])
def test_a_handful_of_rows_corrects_nothing(k, name, rows, rng, capsys):
    """Rows of the data count, whatever a layer is given of each."""
    inputs = k.Input((8, 4))
    model = k.Model(inputs, MANY_ROWS_AT_THE_LAYER[name](k, inputs))
    data = rng.normal(1, 1, (rows, 8, 4)).astype("float32")
    quantized = quantize_model(model, calibration_data=data)
    moved = [shift.any() for shift in shifts(quantized).values()]
    moved += [(gain != 1).any() for gain in gains(quantized).values()]
    assert any(moved) == (rows >= FEWEST_ROWS)
    said = f"No bias or gain is corrected: that takes {FEWEST_ROWS} rows of calibration data, and {rows} are"
    assert (said in capsys.readouterr().out) == (rows < FEWEST_ROWS)


def test_who_gives_few_large_images_is_told_that_they_are_too_few(k, rng, capsys):
    inputs = k.Input((512, 512, 5))
    x = k.layers.GlobalAveragePooling2D()(inputs)
    model = k.Model(inputs, k.layers.Dense(3, name="d")(x))
    image = rng.random((1, 512, 512, 5), dtype="float32")
    quantized = quantize_model(model, calibration_data=([image] for _ in range(20)))
    assert not shifts(quantized)["d"].any()
    assert "and 12 are kept for it" in capsys.readouterr().out  # of 5 MiB each
    quantized = quantize_model(model, calibration_data=[np.repeat(image, FEWEST_ROWS, axis=0)])
    assert shifts(quantized)["d"].any()
    assert "No bias" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["conv1d", "depthwise", "separable", "transpose", "dense", "einsum"])
def test_no_channel_is_shifted_on_the_rows_it_was_measured_on(k, name):
    shape, layer = layers(k)[name]
    model, x = one_layer(k, layer, *shape)
    quantized, plain = (
        quantize_model(model, calibration_data=x, recover=recover, verbose=0) for recover in (BIAS, None)
    )
    (shift,) = shifts(quantized).values()
    exact, found, without = (m.predict(x, verbose=0).astype(np.float64) for m in (model, quantized, plain))
    axes = tuple(range(exact.ndim - shift.ndim))
    np.testing.assert_allclose(shift, (exact - without).mean(axis=axes), atol=1e-6)
    assert np.abs((exact - found).mean(axis=axes)).max() < 1e-6 < np.abs(shift).max()


def gains(model):
    found = corrected(flavor_of(model), model)
    return {path: np.asarray(layer.quantization_switch.gain) for path, layer in found.items()}


@pytest.mark.parametrize("name", [*LAYERS])
@pytest.mark.parametrize("bias", [True, False])
def test_gains_make_each_channel_nearer(k, name, bias):
    """Of correlated inputs, whose products lose in proportion, by least squares with and without a shift."""
    k.utils.set_random_seed(0)
    shape, make = LAYERS[name]
    layer = make(k.layers, use_bias=bias)
    model, rng = one_layer(k, layer, *shape)[0], np.random.default_rng(0)
    x = rng.normal(3, 0.3, (64, *shape)) * rng.lognormal(0, 0.5, (64, *[1] * len(shape)))
    x = x.astype("float32")
    both, shifted = (
        quantize_model(model, calibration_data=x, recover=recover, verbose=0)
        for recover in ("auto", BIAS if bias else None)
    )
    (gain,) = gains(both).values()
    assert 1e-5 < np.abs(gain - 1).max() < 0.1
    exact, found, without = (m.predict(x, verbose=0).astype(np.float64) for m in (model, both, shifted))
    axes, changed = tuple(range(exact.ndim - 1)), np.ravel(gain) != 1
    error, before = (np.square(y - exact).sum(axis=axes) for y in (found, without))
    assert (error < before)[changed].all()
    np.testing.assert_allclose(error[~changed], before[~changed], rtol=1e-4)
    signal = found - found.mean(axis=axes) * bias
    slope = ((found - exact) * signal).sum(axis=axes) / np.square(signal).sum(axis=axes)
    assert np.abs(slope[changed]).max() < 1e-5  # what is left has nothing in proportion to the signal


@pytest.mark.parametrize("name", ["conv2d", "time_distributed"])
def test_layers_with_activations_and_inside_wrappers_are_corrected(k, name, rng):
    shape, layer = layers(k)[name]
    quantized = quantize_model(*one_layer(k, layer, *shape)[:1], calibration_data=rng.random((16, *shape)))
    (shift,) = shifts(quantized).values()
    assert np.abs(shift).max() > 0


@pytest.mark.parametrize("scheme", ["int8-weights", "fp8"])
def test_other_formats_are_corrected_too(k, scheme):
    model, x = one_layer(k, k.layers.Dense(5), 8)
    found = quantize_model(model, scheme, calibration_data=x, verbose=0)
    exact = model.predict(x, verbose=0)
    assert np.abs((found.predict(x, verbose=0) - exact).mean(axis=0)).max() < 1e-6
    assert shifts(quantize_model(model, scheme, calibration_data=x, recover=(), verbose=0)) == {}


def test_data_read_once_and_calibrating_later_give_the_same(k):
    model, x = residual_net(k), images()[0]
    whole = quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    once = quantize_model(model, calibration_data=iter([x[:32], x[32:]]), min_sqnr=None, verbose=0)
    later = quantize_model(model)
    assert all((shift == 0).all() for shift in shifts(later).values())
    calibrate(later, x, verbose=0)
    for path, shift in shifts(calibrate(whole, x, verbose=0)).items():  # again: the first left no trace
        np.testing.assert_array_equal(shifts(once)[path], shift)
        np.testing.assert_array_equal(shifts(later)[path], shift)
    biased = {path for path, layer in corrected(flavor_of(whole), whole).items() if layer.quantization.shift}
    assert biased == {"separable", "strided", "probabilities"}  # the others have no bias


def test_who_wants_none_gets_none(k):
    model, x = one_layer(k, k.layers.Dense(5, name="d"), 8)
    assert not shifts(calibrate(quantize_model(model, recover=None), x, verbose=0))
    quantized = quantize_model(model, calibration_data=x, recover=["bias_correction"], verbose=0)
    assert shifts(quantized)["d"].any()
    again = quantize_model(quantized, calibration_data=x, recover=(), verbose=0)
    assert not shifts(again)["d"].any()
    for wrong in ("bias_correction", ("brecq",), 3, True):
        with pytest.raises(InputError, match=r"`recover` must be 'auto', None, or a tuple of names out of"):
            quantize_model(model, recover=wrong)


def test_the_float_model_stays_what_it_was(k):
    model, x = residual_net(k), images()[0]
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    exact = model.predict(x, verbose=0)
    np.testing.assert_array_equal(strip(quantized).predict(x, verbose=0), exact)
    layer = quantized.get_layer("strided")
    np.testing.assert_array_equal(np.asarray(layer.bias), np.asarray(model.get_layer("strided").bias))
    for layer in quantized.layers:
        if getattr(layer, "quantization_switch", None) is not None:
            set_silent(layer, True)
    np.testing.assert_array_equal(quantized.predict(x, verbose=0), exact)


def test_files_and_checkpoints_carry_it(k, tmp_path):
    import tensorflow as tf

    model, x = residual_net(k), images()[0]
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    expected = quantized.predict(x, verbose=0)
    save_model(quantized, tmp_path / "net.keras")
    np.testing.assert_array_equal(load_model(tmp_path / "net.keras").predict(x, verbose=0), expected)
    quantized.save_weights(tmp_path / "net.weights.h5")
    tf.train.Checkpoint(quantized).write(str(tmp_path / "checkpoint"))
    by_file, by_checkpoint = quantize_model(model), quantize_model(model)
    by_file.load_weights(tmp_path / "net.weights.h5")
    tf.train.Checkpoint(by_checkpoint).read(str(tmp_path / "checkpoint")).assert_existing_objects_matched()
    for other in (by_file, by_checkpoint):
        np.testing.assert_array_equal(other.predict(x, verbose=0), expected)


def test_weights_of_a_float_model_or_an_earlier_version_come_without_it(k, tmp_path):
    model, x = one_layer(k, k.layers.Dense(5, name="d"), 8)
    model.save_weights(tmp_path / "float.weights.h5")
    plain = quantize_model(model, calibration_data=x, recover=None, verbose=0)
    plain.save_weights(tmp_path / "earlier.weights.h5")
    for name in ("float", "earlier"):
        quantized = quantize_model(model, calibration_data=x, verbose=0)
        assert shifts(quantized)["d"].any()
        quantized.load_weights(tmp_path / f"{name}.weights.h5")
        assert not shifts(quantized)["d"].any()
        np.testing.assert_array_equal(quantized.predict(x, verbose=0), plain.predict(x, verbose=0))


def test_a_file_of_an_earlier_version_loads(k, tmp_path):
    model, x = one_layer(k, k.layers.Dense(5, name="d"), 8)
    plain = quantize_model(model, calibration_data=x, recover=None, verbose=0)
    save_model(plain, tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "config.json":
                config = json.loads(content)
                (twin,) = (c for c in config["config"]["layers"] if c["config"]["name"] == "d")
                del twin["config"]["quantization"]["shift"]
                content = json.dumps(config)
            old.writestr(name, content)
    loaded = load_model(tmp_path / "old.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), plain.predict(x, verbose=0))


@pytest.mark.parametrize("name", ["conv2d", "depthwise", "separable", "transpose", "einsum"])
def test_the_exported_file_equals_keras_and_has_no_more_operators(k, name, tmp_path):
    shape, layer = layers(k)[name]
    model, x = one_layer(k, layer, *shape)
    operators = {}
    for recover in ("auto", None):
        quantized = quantize_model(model, calibration_data=x, recover=recover, verbose=0)
        folder = tmp_path / str(recover)
        report = export(quantized, folder, calibration_data=x, engine=None, verbose=0)
        assert report.differences[0]["relative"] < 1e-5
        (file,) = folder.glob("*.onnx")
        operators[recover] = Counter(node.op_type for node in onnx.load(file).graph.node)
    assert operators["auto"] == operators[None]


def test_shared_layers_get_the_mean_over_their_calls(k, rng):
    a, b = k.Input((8,)), k.Input((8,))
    shared = k.layers.Dense(4, name="shared")
    model = k.Model([a, b], k.layers.Add(name="add")([shared(a), shared(b)]))
    x = [rng.normal(mean, 1, (64, 8)).astype("float32") for mean in (1, -2)]
    both = quantize_model(model, calibration_data=x, skip="add", verbose=0)
    change = both.predict(x, verbose=0) - model.predict(x, verbose=0)
    assert np.abs(change.mean(axis=0)).max() < 1e-6  # of the sum of two calls, with one shift for both


def test_layers_of_the_users_keep_it_inside(k, tmp_path):
    @k.saving.register_keras_serializable(package="test_correction")
    class Block(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.conv = k.layers.Conv2D(4, 3, name="conv")

        def build(self, shape):
            self.conv.build(shape)
            self.built = True

        def call(self, x):
            return self.conv(x)

    model, x = one_layer(k, Block(name="block"), 8, 8, 3)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    assert shifts(quantized)["block/conv"].any()
    change = quantized.predict(x, verbose=0) - model.predict(x, verbose=0)
    assert np.abs(change.mean(axis=(0, 1, 2))).max() < 1e-6
    save_model(quantized, tmp_path / "net.keras")
    loaded = load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), quantized.predict(x, verbose=0))


def test_it_goes_along_when_batch_normalisation_is_folded_and_channels_are_removed(k, rng):
    inputs = k.Input((8, 8, 3))
    x = k.layers.Conv2D(8, 3, name="conv")(inputs)
    x = k.layers.BatchNormalization(name="norm")(x)
    x = k.layers.Conv2D(4, 3, name="head")(k.layers.ReLU()(x))
    model, data = k.Model(inputs, x), rng.normal(1, 1, (32, 8, 8, 3)).astype("float32")
    gamma, beta, *moving = model.get_layer("norm").get_weights()
    model.get_layer("norm").set_weights([gamma * rng.uniform(1, 2, 8), beta + 0.1, *moving])
    quantized = quantize_model(model, calibration_data=data, verbose=0)
    expected = quantized.predict(data, verbose=0)
    difference = np.abs(fuse_model(quantized).predict(data, verbose=0) - expected)
    assert np.quantile(difference, 0.99) < 0.02 * np.abs(expected).max()  # a value may round the other way
    before, after = shifts(quantized)["conv"], shifts(fuse_model(quantized))["conv"]
    scale = model.get_layer("norm").get_weights()[0] / np.sqrt(moving[1] + model.get_layer("norm").epsilon)
    np.testing.assert_allclose(after, before * scale, rtol=1e-5)
    smaller = prune_model(quantized, 0.5, pattern="channel")
    assert len(shifts(smaller)["conv"]) == 4
    assert set(shifts(smaller)["conv"]) < set(before)
    assert np.isfinite(smaller.predict(data, verbose=0)).all()


def test_training_leaves_it_as_it_is(k):
    model, x = one_layer(k, k.layers.Dense(5, name="d"), 8)
    quantized = quantize_model(model, calibration_data=x, verbose=0)
    before, trainable = shifts(quantized)["d"], len(model.trainable_weights)
    assert len(quantized.trainable_weights) == trainable
    quantized.compile("sgd", "mse")
    quantized.fit(x, np.zeros((64, 5)), verbose=0)
    np.testing.assert_array_equal(shifts(quantized)["d"], before)


def test_sensitivity_measures_layers_with_their_corrections(k):
    model, x = one_layer(k, k.layers.Dense(5, name="d"), 8)
    (loss,) = sensitivity(model, x, verbose=0).losses.values()
    exact, found = (
        m.predict(x, verbose=0) for m in (model, quantize_model(model, calibration_data=x, verbose=0))
    )
    assert loss == pytest.approx(np.square(found - exact).mean() / exact.var(), rel=1e-3)


def test_a_trained_network_is_nearer_to_float_with_it(k):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).reshape(-1, 8, 8, 1).astype("float32")
    L, seeds = k.layers, iter(range(10))

    def weights():  # of the test alone, whatever has drawn random numbers before
        return k.initializers.GlorotUniform(seed=next(seeds))

    model = k.Sequential([k.Input((8, 8, 1))])
    for width in (16, 16, 16):
        model.add(L.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer=weights()))
    model.add(L.GlobalAveragePooling2D())
    model.add(L.Dense(10, kernel_initializer=weights()))
    model.compile(k.optimizers.Adam(5e-3), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x[:1200], y[:1200], epochs=4, batch_size=64, shuffle=False, verbose=0)
    exact, error = model.predict(x[1200:], verbose=0), {}
    for recover in (None, "auto"):
        quantized = quantize_model(model, calibration_data=x[:256], recover=recover, verbose=0)
        found = quantized.predict(x[1200:], verbose=0)
        error[recover] = np.square(found - exact).mean()
        assert np.mean(found.argmax(-1) == exact.argmax(-1)) > 0.97
    assert error["auto"] < error[None]


def test_weights_with_corrections_ask_for_a_model_that_has_a_place_for_them(k, tmp_path):
    model, x = one_layer(k, k.layers.Dense(5, name="d"), 8)
    quantize_model(model, calibration_data=x, verbose=0).save_weights(tmp_path / "q.weights.h5")
    plain = quantize_model(model, calibration_data=x, recover=None, verbose=0)
    with pytest.raises((InputError, ValueError), match="Quantise the model with `recover='auto'`"):
        plain.load_weights(tmp_path / "q.weights.h5")
