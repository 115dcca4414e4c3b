"""`EvaluateEngine` puts the exported model's metrics beside those of the model in training."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

import keras_trt
from keras_trt.callbacks import EvaluateEngine, ExportBest, Quantize
from keras_trt.errors import InputError
from tests.nets import dense_net


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(64, 8)).astype("float32")
    return x, np.argmax(x @ np.random.default_rng(5).normal(size=(8, 4)), axis=1)


def net(k, **options):
    model = dense_net(k, 8, 12, 4)
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]} | options
    model.compile(k.optimizers.Adam(5e-3), **options)
    return model


def fit(model, callbacks, **options):
    options = {"epochs": 2, "batch_size": 16, "verbose": 0, "validation_data": data(1)} | options
    return model.fit(*data(), callbacks=callbacks, **options).history


class Seen:
    """What a callback's `on_epoch_end` sees."""

    def __init__(self, k):
        self.logs = []
        self.callback = k.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.logs.append(dict(logs))
        )


def test_a_float_engine_is_worth_what_the_model_is(k):
    history = fit(net(k), [EvaluateEngine(data(1))])
    np.testing.assert_allclose(history["val_engine_accuracy"], history["val_accuracy"])
    np.testing.assert_allclose(history["val_engine_loss"], history["val_loss"], rtol=1e-4)
    assert history["val_engine_failed"] == [0.0, 0.0]


def test_the_engine_of_a_model_in_quantised_training_is_measured(k, tmp_path):
    """What is logged in the last epoch is what the bundle gives."""
    ours = EvaluateEngine(data(1))
    model = net(k)
    history = fit(model, [Quantize(calibration_data=data()[0]), ours])
    keras_trt.export(model, tmp_path / "b", engine=None, verbose=0)
    with keras_trt.load(tmp_path / "b", verbose=0) as engine:
        engine.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        values = engine.evaluate(*data(1), verbose=0, return_dict=True)
    assert history["val_engine_accuracy"][-1] == pytest.approx(values["accuracy"])
    assert history["val_engine_loss"][-1] == pytest.approx(values["loss"], rel=1e-5)


def test_the_wrong_numbers_of_an_engine_show(k, monkeypatch):
    """The model's own results have no part in what is logged."""
    from keras_trt.runtime import keras_layer

    real = keras_layer.run_rows
    monkeypatch.setattr(
        keras_layer, "run_rows", lambda *given: {n: a[:, ::-1].copy() for n, a in real(*given).items()}
    )
    history = fit(net(k), [EvaluateEngine(data(1))])
    assert history["val_engine_loss"][-1] > history["val_loss"][-1] + 0.1


@pytest.mark.parametrize("options", [{}, {"validation_data": None}])
def test_a_training_with_it_gives_the_numbers_of_one_without(k, options):
    found = []
    for ours in ([], [EvaluateEngine(data(1))]):
        model = net(k)
        history = fit(model, ours, **options)
        found.append(({n: v for n, v in history.items() if "engine" not in n}, model.get_weights()))
        assert not model.run_eagerly
        assert "call" not in vars(model)
    assert found[0][0] == found[1][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_measures_every_so_many_epochs_with_or_without_validation(k):
    history = fit(net(k), [EvaluateEngine(data(1), every=2)], epochs=5)
    assert len(history["val_engine_accuracy"]) == 2
    history = fit(net(k), [EvaluateEngine(data(1), every=2)], epochs=5, validation_data=None)
    assert len(history["val_engine_accuracy"]) == 2


def test_callbacks_that_come_later_see_it(k, tmp_path):
    late, log = Seen(k), tmp_path / "log.csv"
    fit(net(k), [EvaluateEngine(data(1)), late.callback, k.callbacks.CSVLogger(str(log))])
    assert all("val_engine_accuracy" in logs for logs in late.logs)
    assert "val_engine_accuracy" in log.read_text().splitlines()[0]
    best = ExportBest(tmp_path / "b", "val_engine_accuracy", engine=None)
    history = fit(net(k), [EvaluateEngine(data(1)), best])
    assert best.best == max(history["val_engine_accuracy"])


def test_weights_of_rows_and_data_sets(k):
    import tensorflow as tf

    x, y = data(1)
    weights = np.linspace(0, 1, len(x)).astype("float32")
    model = net(k, weighted_metrics=["accuracy"], metrics=None)
    own = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    ours = EvaluateEngine((x, y, weights), batch_size=16)
    history = fit(model, [ours], epochs=1, validation_data=(x, y, weights))
    assert history["val_engine_accuracy"][0] == pytest.approx(history["val_accuracy"][0])
    assert set(own) == {"loss", "accuracy"}
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    history = fit(net(k), [EvaluateEngine(dataset)], epochs=1, validation_data=dataset)
    assert history["val_engine_accuracy"] == pytest.approx(history["val_accuracy"])


def test_a_failure_is_a_warning_and_nan_and_training_goes_on(k, monkeypatch):
    def fail(model, path, options, tries=[]):  # noqa: B006 - counts
        tries.append(path)
        if len(tries) == 2:
            raise OSError("No space left on device")
        real(model, path, options)

    from keras_trt.callbacks import evaluate_engine

    real = evaluate_engine.exported
    monkeypatch.setattr(evaluate_engine, "exported", fail)
    with pytest.warns(UserWarning, match="epoch 2: .*training goes on .*OSError: No space left"):
        history = fit(net(k), [EvaluateEngine(data(1))], epochs=3)
    assert history["val_engine_failed"] == [0.0, 1.0, 0.0]
    assert np.isnan(history["val_engine_accuracy"]).tolist() == [False, True, False]


def test_two_in_one_training_have_names_of_their_own(k):
    history = fit(net(k), [EvaluateEngine(data(1), name="fp16", precision="fp16"), EvaluateEngine(data(1))])
    assert history["val_fp16_failed"] == history["val_engine_failed"] == [0.0, 0.0]
    assert history["val_fp16_loss"] != history["val_engine_loss"]
    np.testing.assert_allclose(history["val_fp16_loss"], history["val_engine_loss"], rtol=1e-2)


def test_a_model_that_xla_compiles_is_measured(k):
    history = fit(net(k, jit_compile=True), [EvaluateEngine(data(1))], epochs=1)
    np.testing.assert_allclose(history["val_engine_loss"], history["val_loss"], rtol=1e-4)


def test_a_test_step_past_the_model_is_a_failure_and_no_figure_of_the_engine(k):
    """It would evaluate the trained layers, and pass off what they give as the engine's."""

    class PastItself(k.Model):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def call(self, x):
            return self.body(x)

        def test_step(self, data):
            return {"share": self.body(data[0])[0, 0]}

    model = PastItself(net(k))
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="`test_step` of PastItself does not call the model as a whole"):
        history = fit(model, [EvaluateEngine(data(1))], epochs=1)
    assert history["val_engine_failed"] == [1.0]
    assert "val_engine_share" not in history


def test_nothing_is_left_on_the_disk(k, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fit(net(k), [EvaluateEngine(data(1))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"data": (np.zeros(3),)}, r"`data` must be \(inputs, targets\)"),
        ({"data": None}, "data"),
        ({"data": np.zeros((3, 8))}, r"`data` must hold targets: \(inputs, targets\). Received: ndarray"),
        ({"data": {"a": np.zeros((3, 8))}}, "`data` must hold targets"),
        ({"runner": "nope"}, "`runner` must be one of .*'openvino'.* Received: 'nope'"),
        ({"name": ""}, "`name` must be a text"),
        ({"every": 0}, "`every` must be None or a whole number >= 1"),
        ({"precision": "int7"}, "`precision` must be one of"),
        ({"batch": 0}, "`batch` must be a whole number or"),
        ({"precison": "fp16"}, "`callbacks.EvaluateEngine` takes its own arguments and options of `export`"),
    ],
)
def test_wrong_arguments_are_refused_before_training(given, text):
    with pytest.raises(InputError, match=text):
        EvaluateEngine(**{"data": data(), **given})
