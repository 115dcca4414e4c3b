"""Measuring what pruning each layer costs."""

import json

import keras
import numpy as np
import pytest

from keras_trt.data.cache import data_chunks, described
from keras_trt.errors import InputError
from keras_trt.prune import prune_model, sensitivity
from keras_trt.prune.costs.table import Sensitivity

X = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")


def net(k):
    """`useless` adds next to nothing to the output."""
    inputs = k.Input((16,))
    useful = k.layers.Dense(8, name="useful")(inputs)
    useless = k.layers.Dense(8, name="useless")(inputs)
    model = k.Model(inputs, k.layers.Add()([useful, useless]))
    model.get_layer("useless").kernel.assign(np.random.default_rng(1).normal(size=(16, 8)) * 1e-8)
    return model


def test_the_useless_layer_loses_nothing_and_takes_the_zeros(k):
    model = net(k)
    before = model.get_weights()
    table = sensitivity(model, X, levels=(0.3, 0.6, 0.9), verbose=0)
    assert max(table.losses["useless.kernel"]) < 1e-6 < min(table.losses["useful.kernel"])
    assert list(table.losses["useful.kernel"]) == sorted(table.losses["useful.kernel"])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    pruned = prune_model(model, 0.45, strategy=table)
    zeros = {n: float((pruned.get_layer(n).kernel.numpy() == 0).mean()) for n in ("useful", "useless")}
    assert zeros["useless"] == round(0.9 * 128) / 128
    assert zeros["useful"] == pytest.approx(0.0, abs=1e-6)


def test_a_metric_measures_its_fall(k):
    model = net(k)
    y = model.predict(X, verbose=0).argmax(1)

    def accuracy(targets, predictions):
        return float((predictions.argmax(1) == targets).mean())

    table = sensitivity(model, (X, y), metric=accuracy, levels=(0.9,), verbose=0)
    assert table.losses["useful.kernel"][0] > 0.2
    assert table.losses["useless.kernel"][0] == 0


def test_the_cache_saves_measuring_again_but_not_for_other_weights(k, tmp_path, rng):
    def fit_of(targets, predictions):
        calls.append(1)
        return -float(((targets - predictions) ** 2).mean())

    calls, model, file = [], net(k), tmp_path / "cache.json"
    options = {"metric": fit_of, "levels": (0.5,), "cache": file, "verbose": 0}
    data = (X, model.predict(X, verbose=0))
    first = sensitivity(model, data, **options)
    measured = len(calls)
    assert sensitivity(model, data, **options) == first
    assert len(calls) == measured + 1  # only the reference
    model.get_layer("useful").kernel.assign(rng.normal(size=(16, 8)))
    assert sensitivity(model, data, **options) != first
    assert json.loads(file.read_text())


def squared(targets, predictions):
    return -float(((targets - predictions) ** 2).mean())


def scaled_by(factor):
    return lambda targets, predictions: factor * squared(targets, predictions)


def losses_after(k, tmp_path, before, after):
    """What a second measurement finds with the first one's cache, and without it."""
    model = net(k)
    (data, options), (data_now, options_now) = before(model), after(model)
    fixed = {"levels": (0.5,), "verbose": 0}
    sensitivity(model, data, cache=tmp_path / "c.json", **fixed, **options)
    cached = sensitivity(model, data_now, cache=tmp_path / "c.json", **fixed, **options_now)
    return cached, sensitivity(model, data_now, **fixed, **options_now)


TARGETS = np.random.default_rng(2).normal(size=(64, 8)).astype("float32")
CLASSES = np.arange(64) % 8
CHANGES = {
    "targets": (
        lambda m: ((X, TARGETS), {"metric": squared}),
        lambda m: ((X, TARGETS * 2), {"metric": squared}),
    ),
    "metric of the same name": (
        lambda m: ((X, TARGETS), {"metric": lambda t, p: -float(((t - p) ** 2).mean())}),
        lambda m: ((X, TARGETS), {"metric": lambda t, p: -float(abs(t - p).mean())}),
    ),
    "number that the metric closes over": (
        lambda m: ((X, m.predict(X, verbose=0)), {"metric": scaled_by(1.0)}),
        lambda m: ((X, m.predict(X, verbose=0)), {"metric": scaled_by(3.0)}),
    ),
    "metric or none": (lambda m: ((X, TARGETS), {"metric": squared}), lambda m: ((X, TARGETS), {})),
    "setting of a metric of Keras": (
        lambda m: ((X, CLASSES), {"metric": keras.metrics.SparseTopKCategoricalAccuracy(7)}),
        lambda m: ((X, CLASSES), {"metric": keras.metrics.SparseTopKCategoricalAccuracy(1)}),
    ),
    "inputs": (lambda m: (X, {}), lambda m: (X[:8] * 3, {})),
    "pattern": (lambda m: (X, {}), lambda m: (X, {"pattern": (4, 4)})),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_is_not_read_for_another(k, change, tmp_path):
    cached, measured = losses_after(k, tmp_path, *CHANGES[change])
    assert cached.losses.keys() == measured.losses.keys()
    for name, losses in measured.losses.items():
        assert cached.losses[name] == pytest.approx(losses, rel=1e-4)


def test_the_cache_is_not_read_for_another_activation(k, tmp_path):
    def build(activation):
        k.utils.set_random_seed(0)
        return k.Sequential([k.Input((16,)), k.layers.Dense(8, activation, name="d")])

    options = {"levels": (0.5,), "verbose": 0, "cache": tmp_path / "c.json"}
    first = sensitivity(build("linear"), X, **options)
    assert sensitivity(build("tanh"), X, **options) != first


def test_the_cache_takes_models_of_several_inputs(k, tmp_path):
    a, b = k.Input((16,), name="a"), k.Input((3,), name="b")
    model = k.Model([a, b], k.layers.Dense(2)(k.layers.Concatenate()([a, b])))
    options = {"levels": (0.5,), "verbose": 0, "cache": tmp_path / "c.json"}
    first = sensitivity(model, [X, X[:, :3]], **options)
    assert sensitivity(model, [X, X[:, 3:6]], **options) != first
    assert sensitivity(model, {"a": X, "b": X[:, :3]}, **options).losses.keys() == first.losses.keys()


def test_the_cache_refuses_what_it_cannot_tell_apart():
    import keras

    with pytest.raises(InputError, match="must be arrays. Received: object"):
        list(data_chunks({"x": object()}))
    one, other = keras.metrics.binary_accuracy, keras.metrics.binary_crossentropy
    assert list(described(one)) != list(described(other))


def test_channels_are_removed_where_their_group_loses_least(k):
    inputs = k.Input((16,))
    branches = [k.layers.Dense(20, activation="relu", name=name)(inputs) for name in ("useful", "useless")]
    model = k.Model(inputs, k.layers.Dense(4, name="out")(k.layers.Concatenate()(branches)))
    kernel = model.get_layer("out").kernel.numpy()
    kernel[20:] *= 1e-4  # what `useless` makes hardly counts
    model.get_layer("out").kernel.assign(kernel)
    table = sensitivity(model, X, pattern="channel", levels=(0.4, 0.8), verbose=0)
    assert set(table.losses) == {"useful", "useless"}
    assert max(table.losses["useless"]) < 1e-5 < min(table.losses["useful"])
    small = prune_model(model, 0.4, pattern="channel", strategy=table)
    assert (small.get_layer("useful").units, small.get_layer("useless").units) == (20, 4)


def test_the_table_prints():
    text = str(Sensitivity((0.5, 0.9), {"conv.kernel": (0.01, 0.2)}, "unstructured"))
    assert "conv.kernel" in text
    assert "0.9" in text


def test_its_curves_can_be_drawn(tmp_path):
    table = Sensitivity((0.5, 0.9), {"conv.kernel": (0.01, 0.2), "head.kernel": (0.0, 0.1)}, "unstructured")
    (axes,) = table.plot(tmp_path / "curves.png").axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert drawn["conv.kernel"] == [[0.5, 0.01], [0.9, 0.2]]
    assert set(drawn) == set(table.losses)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_progress_is_shown_unless_quieted(capsys):
    import keras

    sensitivity(net(keras), X, levels=(0.5,), verbose=1)
    assert "Sensitivity" in capsys.readouterr().out
    sensitivity(net(keras), X, levels=(0.5,), verbose=0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"levels": (0.9, 0.5)}, "numbers that rise"),
        ({"levels": (0.5, 1.0)}, "numbers that rise"),
        ({"levels": ()}, "must be numbers that rise"),
        ({"levels": "50"}, "Received: levels='50'"),
        ({"metric": max}, "no targets"),
        ({"metric": "accuracy"}, "no targets"),
        ({"pattern": "2:4"}, "no levels to measure"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    import keras

    with pytest.raises(InputError, match=message):
        sensitivity(net(keras), X, verbose=0, **arguments)
