"""Every function that takes a metric takes it by name, too, and as an object of Keras."""

import inspect

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError
from tests.nets import dense_net
from tests.project.test_public_api import NAMES
from tests.tfmot_models import chain_net, quadrants, stock_quantized

pytestmark = pytest.mark.usefixtures("few_objects")
X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
Y = (X.sum(-1) > 0).astype(int)
MEASURES = ("quantize_model", "export", "sensitivity", "prune.sensitivity", "verify", "benchmark")
ONCE = {"batch_sizes": (1,), "seconds": 0.01}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, bundle) of a Keras, exported once."""
    made = {}

    def of(k):
        if k not in made:
            model, path = dense_net(k, 6, 8, 2), tmp_path_factory.mktemp("metrics") / "b"
            keras_trt.export(model, path, engine=None, verbose=0)
            made[k] = model, path
        return made[k]

    return of


def measured(name, model, path, metric):
    """Calls a public function with a metric."""
    data, budget = (X, Y), {"max_drop": 1.0, "metric": metric, "verbose": 0}
    if name == "quantize_model":
        return keras_trt.quantize_model(model, data=data, **budget)
    if name == "export":
        return keras_trt.export(
            model, path.parent / "chosen", data=data, engine=None, overwrite=True, **budget
        )
    if name == "sensitivity":
        return keras_trt.sensitivity(model, data, metric=metric, verbose=0).losses
    if name == "prune.sensitivity":
        return keras_trt.prune.sensitivity(model, data, metric=metric, levels=(0.9,), verbose=0).losses
    if name == "verify":
        return keras_trt.verify(model, path, data, metric=metric, verbose=0).metrics
    found = keras_trt.benchmark(path, data, model=model, metric=metric, verbose=0, **ONCE)
    return {one.name: one.metric for one in found.contenders}


def test_these_are_all_functions_that_take_a_metric():
    taking = {
        name
        for name, value in NAMES.items()
        if inspect.isfunction(value) and "metric" in inspect.signature(value).parameters
    }
    assert taking == {*MEASURES, "tfmot.range_report"}


@pytest.mark.parametrize("name", MEASURES)
def test_a_name_is_what_the_function_of_that_name_is(k, name, exported):
    def accuracy(targets, predictions):
        return float((predictions.argmax(-1) == targets).mean())

    model, path = exported(k)
    by_name, by_function = (measured(name, model, path, metric) for metric in ("accuracy", accuracy))
    if isinstance(by_name, dict):
        assert by_name == by_function
    with pytest.raises(InputError, match="no such metric. Received: metric='acuracy'"):
        measured(name, model, path, "acuracy")
    with pytest.raises(InputError, match="`metric` must be 'accuracy', a metric of Keras, or a function"):
        measured(name, model, path, 3)


@pytest.mark.parametrize("name", ["sensitivity", "prune.sensitivity"])
def test_of_errors_and_divergences_the_loss_is_their_rise(k, name, exported):
    model, path = exported(k)
    loss = k.losses.SparseCategoricalCrossentropy()
    rise = measured(name, model, path, loss)

    def fall(targets, predictions):
        return -float(np.asarray(loss(targets, predictions)))

    for layer, value in measured(name, model, path, fall).items():
        assert rise[layer] == pytest.approx(value, abs=1e-6)
    function = keras_trt.sensitivity if name == "sensitivity" else keras_trt.prune.sensitivity
    divergences = function(model, X, metric="kl", verbose=0).losses
    assert np.min(list(divergences.values())) >= 0 < np.max(list(divergences.values()))


def test_tfmots_ranges_too():
    model = stock_quantized(chain_net())
    note = keras_trt.tfmot.range_report(model, quadrants(16), metric="sparse_categorical_crossentropy").notes[
        -1
    ]
    assert note.startswith("sparse_categorical_crossentropy on 16 samples")
