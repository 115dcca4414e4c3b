"""Channels of an activation become alike in size, and the model computes what it did."""

from __future__ import annotations

import numpy as np
import pytest

from keras_trt import export, load, prune_model, quantize_model, strip
from keras_trt.errors import InputError

LOUD = 60.0


def rows(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (64, *shape)).astype("float32")


def sqnr(outputs, exact):
    return 10 * np.log10(np.square(exact).sum() / np.square(outputs - exact).sum())


def make_loud(maker, reader, channel=1):
    """One channel of what a layer makes `LOUD` times as large, which its reader undoes."""
    weights = maker.get_weights()
    for weight in weights[:2]:
        weight[..., channel] *= LOUD
    maker.set_weights(weights)
    kernel, *others = reader.get_weights()
    kernel[channel if kernel.ndim == 2 else (..., channel, slice(None))] /= LOUD
    reader.set_weights([kernel, *others])


def dense(k):
    i = k.Input((12,))
    x = k.layers.Dense(16, activation="relu", name="maker", bias_initializer="random_normal")(i)
    return k.Model(i, k.layers.Dense(4, name="reader")(x)), rows(12)


def normalised(k):
    i = k.Input((6, 12))
    x = k.layers.LayerNormalization(name="maker")(i)
    return k.Model(i, k.layers.Dense(4, name="reader")(x)), rows(6, 12)


def batch_normalised(k):
    i = k.Input((8, 8, 3))
    x = k.layers.Conv2D(12, 3, use_bias=False)(i)
    x = k.layers.ReLU()(k.layers.BatchNormalization(name="maker")(x))
    x = k.layers.MaxPooling2D()(x)
    return k.Model(i, k.layers.Conv2D(4, 3, name="reader")(x)), rows(8, 8, 3)


def depthwise(k):
    i = k.Input((8, 8, 3))
    x = k.layers.Conv2D(12, 3, activation="relu", name="maker")(i)
    return k.Model(i, k.layers.DepthwiseConv2D(3, name="reader")(x)), rows(8, 8, 3)


def subclassed(k):
    class Net(k.Model):
        def __init__(self):
            super().__init__()
            self.maker = k.layers.Dense(16, activation="relu", name="maker")
            self.reader = k.layers.Dense(4, name="reader")

        def call(self, x):
            return self.reader(self.maker(x))

    model, x = Net(), rows(12)
    model(x[:1])
    return model, x


def nested(k):
    inner, x = dense(k)
    i = k.Input((12,))
    return k.Model(i, k.layers.Dense(3, name="last")(inner(i))), x


def layer(model, name):
    """A layer by its name, also of a model inside or of a subclassed one."""
    found = [each for each in model._flatten_layers() if each.name == name]
    assert len(found) == 1
    return found[0]


MODELS = {
    each.__name__: each for each in (dense, normalised, batch_normalised, depthwise, subclassed, nested)
}


def quantized(model, x, recover, **more):
    return quantize_model(model, calibration_data=x, recover=recover, min_sqnr=None, verbose=0, **more)


@pytest.mark.parametrize("name", MODELS)
def test_one_loud_channel_costs_nothing_any_more(k, name):
    model, x = MODELS[name](k)
    make_loud(layer(model, "maker"), layer(model, "reader"))
    expected = model.predict(x, verbose=0)
    alike = quantized(model, x, ("equalization", "smooth_quant"))
    plain = sqnr(quantized(model, x, None).predict(x, verbose=0), expected)
    assert sqnr(alike.predict(x, verbose=0), expected) > max(32, plain + 6)
    np.testing.assert_allclose(strip(alike).predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_an_engine_computes_what_the_equalised_model_does(k, tmp_path):
    model, x = batch_normalised(k)
    make_loud(layer(model, "maker"), layer(model, "reader"))
    alike = quantized(model, x, "auto")
    export(alike, tmp_path / "b", engine=None, verbose=0)
    engine = load(tmp_path / "b").predict(x, verbose=0)
    assert sqnr(engine, model.predict(x, verbose=0)) > 32


def relu6_net(k, cap):
    i = k.Input((8, 8, 3))
    x = k.layers.Conv2D(12, 3, name="maker")(i)
    x = k.layers.ReLU(cap)(x)
    return k.Model(i, k.layers.DepthwiseConv2D(3, name="reader")(x)), rows(8, 8, 3)


def test_below_a_cap_channels_are_only_enlarged(k):
    model, x = relu6_net(k, 6.0)
    kernel, bias = layer(model, "maker").get_weights()
    kernel *= np.geomspace(0.01, 10, 12)  # some reach 6, some stay far below
    layer(model, "maker").set_weights([kernel, bias])
    expected = model.predict(x, verbose=0)
    alike = quantized(model, x, ("equalization",))
    ratio = np.abs(layer(strip(alike), "maker").get_weights()[0] / kernel).max((0, 1, 2))
    assert ratio.min() > 0.999 and ratio[0] > 5 and ratio[-1] < 1.001
    np.testing.assert_allclose(strip(alike).predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)
    plain = sqnr(quantized(model, x, None).predict(x, verbose=0), expected)
    assert sqnr(alike.predict(x, verbose=0), expected) > plain


def read_twice(k, i, x):
    reader = k.layers.Dense(16, name="reader")
    return reader(reader(x))


def leaves(k, i, x):
    return [k.layers.Dense(4, name="reader")(x), x]


def curved(k, i, x):
    return k.layers.Dense(4, name="reader")(k.layers.Activation("gelu")(x))


def squared(k, i, x):
    return k.layers.Dense(4, name="reader")(k.layers.Multiply()([x, x]))


def summed(k, i, x):
    return k.layers.Dense(4, name="reader")(k.layers.Add()([x, k.layers.Activation("tanh")(x)]))


def averaged(k, i, x):
    return k.layers.Dense(4, name="reader")(k.layers.LayerNormalization()(x))


@pytest.mark.parametrize("rest", [read_twice, leaves, curved, squared, summed, averaged])
def test_what_factors_do_not_pass_through_keeps_its_weights(k, rest):
    i = k.Input((16,))
    x = k.layers.Dense(16, activation="relu", name="maker")(i)
    model, x = k.Model(i, rest(k, i, x)), rows(16)
    kernel, bias = layer(model, "maker").get_weights()
    kernel[:, 3] *= LOUD
    layer(model, "maker").set_weights([kernel, bias])
    alike = quantized(model, x, ("equalization",))
    np.testing.assert_array_equal(layer(strip(alike), "maker").get_weights()[0], kernel)


def test_weights_that_somebody_else_reads_too_are_left(k):
    class Tied(k.layers.Layer):
        """Uses the kernel of another layer behind its back."""

        def __init__(self, other, **kwargs):
            super().__init__(**kwargs)
            self.other = [other]

        def call(self, x):
            kernel = self.other[0].kernel
            return x @ (kernel if not hasattr(kernel, "value") or callable(kernel.value) else kernel.value)

    i = k.Input((12,))
    maker = k.layers.Dense(16, activation="relu", name="maker")
    x = k.layers.Dense(4, name="reader")(maker(i))
    model, x = k.Model(i, [x, Tied(maker)(i)]), rows(12)
    make_loud(layer(model, "maker"), layer(model, "reader"))
    expected = model.predict(x, verbose=0)
    alike = quantized(model, x, ("equalization",), skip=[Tied])
    for got, wanted in zip(strip(alike).predict(x, verbose=0), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_data_that_is_read_once_is_read_whole(k):
    model, x = dense(k)
    make_loud(layer(model, "maker"), layer(model, "reader"))
    x[-1] *= 3  # the last row counts, too
    from_arrays = quantized(model, x, "auto").predict(x, verbose=0)
    from_iterator = quantized(model, (x[i : i + 32] for i in range(0, 64, 32)), "auto").predict(x, verbose=0)
    np.testing.assert_allclose(from_iterator, from_arrays, rtol=1e-5, atol=1e-6)


def test_masks_survive(k):
    model, x = dense(k)
    make_loud(layer(model, "maker"), layer(model, "reader"))
    alike = quantized(prune_model(model, 0.5, only=["maker", "reader"]), x, ("equalization",))
    kernel = layer(strip(alike), "maker").get_weights()[0]
    assert 0.45 < (kernel == 0).mean() < 0.55


def test_an_error_in_place_leaves_the_weights_as_they_were(k):
    model, x = dense(k)
    make_loud(layer(model, "maker"), layer(model, "reader"))
    before = [np.array(w) for w in model.get_weights()]

    def broken():
        yield x
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        quantized(model, broken(), "auto", copy=False)
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_wrong_names_are_told_the_right_ones(k):
    model, x = dense(k)
    with pytest.raises(InputError, match=r"'equalization', 'smooth_quant', 'bias_correction'"):
        quantized(model, x, ("equalisation",))


def test_batch_normalisation_behind_equalised_channels_trains_as_before(k):
    i = k.Input((8, 8, 3))
    x = k.layers.Conv2D(8, 3, name="maker")(i)
    y = k.layers.BatchNormalization(name="bn", epsilon=1e-3)(x)
    model = k.Model(i, [k.layers.Conv2D(4, 1, name="reader")(x), k.layers.ReLU()(y)])
    make_loud(model.get_layer("maker"), model.get_layer("reader"))
    x = rows(8, 8, 3)
    features = k.Model(i, model.get_layer("maker").output).predict(x, verbose=0)
    gamma, beta, *_ = model.get_layer("bn").get_weights()
    own = features.mean((0, 1, 2)), features.var((0, 1, 2))
    model.get_layer("bn").set_weights([gamma, beta, *own])
    alike = strip(quantized(model, x, ("equalization",)))
    assert not np.array_equal(
        alike.get_layer("maker").get_weights()[0], model.get_layer("maker").get_weights()[0]
    )
    for training in (False, True):
        for got, expected in zip(alike(x, training=training), model(x, training=training), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
