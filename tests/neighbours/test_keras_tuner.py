"""keras_tuner searches over models that `build_model` returns quantised and pruned."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_trt
from tests.nets import dense_net

keras_tuner = pytest.importorskip("keras_tuner", reason="`tox -e neighbours` runs it")


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore:Skipping variable loading for optimizer:UserWarning",  # of plain models, too
)
def test_quantised_models_are_searched_kept_and_exported(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 8)).astype("float32")
    y = np.argmax(x @ rng.normal(size=(8, 4)), axis=1)

    def build_model(hp):
        model = dense_net(keras, 8, hp.Choice("units", [4, 16]), 4)
        if hp.Boolean("sparse"):
            model = keras_trt.prune_model(model, 0.5)
        model = keras_trt.quantize_model(model, calibration_data=x, verbose=0)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    tuner = keras_tuner.GridSearch(
        build_model, objective="val_accuracy", directory=tmp_path, project_name="t", seed=0
    )
    tuner.search(x, y, epochs=2, validation_data=(x, y), verbose=0)
    trials = tuner.oracle.get_best_trials(4)
    assert len({str(trial.hyperparameters.values) for trial in trials}) == 4
    (best,) = tuner.get_best_models(1)
    assert best.evaluate(x, y, verbose=0, return_dict=True)["accuracy"] == pytest.approx(trials[0].score)
    report = keras_trt.export(best, tmp_path / "b", engine=None, verbose=0)
    assert (report.precision, report.int8_layers) == ("int8", ("a", "b"))
    with keras_trt.load(tmp_path / "b", verbose=0) as engine:
        np.testing.assert_allclose(engine.predict(x, verbose=0), best.predict(x, verbose=0), atol=0.02)
