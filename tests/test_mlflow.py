"""Bundles in MLflow, with a store of local files. Run by `tox -e neighbours`."""

from __future__ import annotations

import numpy as np
import pytest

import keras_trt
from keras_trt.errors import BundleError, InputError
from tests.small_onnx import conv_model, save_bundle, two_in_two_out

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed; `tox -e neighbours` runs it")

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of all that it imports

STRUCTURE = {
    "input_structure": {"a": "a", "b": "b"},
    "output_structure": {"total": "total", "product": "product"},
}


@pytest.fixture(autouse=True)
def _store(tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow.set_experiment(experiment_id=experiment)


def test_a_bundle_is_logged_registered_and_loaded_by_its_name(tmp_path):
    bundle = save_bundle(tmp_path / "b", conv_model())
    with mlflow.start_run():
        mlflow.pyfunc.log_model(name="net", registered_model_name="net", **keras_trt.mlflow.pyfunc(bundle))
    loaded = mlflow.pyfunc.load_model("models:/net/1")
    engine = keras_trt.load(bundle, verbose=0)
    x = np.random.default_rng(0).normal(size=(5, 4, 8, 8)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x), engine.predict(x, verbose=0))
    assert loaded.metadata.metadata["precision"] == engine.bundle.manifest.precision
    (given,) = loaded.metadata.signature.inputs.inputs
    assert (given.shape, given.type.name) == ((-1, 4, 8, 8), "float32")
    with pytest.raises(mlflow.exceptions.MlflowException, match="shape"):
        loaded.predict(x[:, :2])


def test_several_inputs_go_by_name_and_the_runner_is_asked_for(tmp_path):
    bundle = save_bundle(tmp_path / "b", two_in_two_out(), **STRUCTURE)
    mlflow.pyfunc.save_model(tmp_path / "m", **keras_trt.mlflow.pyfunc(bundle))
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "m"), model_config={"runner": "onnxruntime"})
    x = {"a": np.full((2, 3), 1.5, "float32"), "b": np.arange(6, dtype="int32").reshape(2, 3)}
    results = loaded.predict(x)
    np.testing.assert_array_equal(results["total"], x["a"] + x["b"])
    np.testing.assert_array_equal(results["product"], x["a"] * x["b"])
    with pytest.raises(mlflow.exceptions.MlflowException, match="b"):
        loaded.predict({"a": x["a"]})
    with pytest.raises(InputError, match=r"Missing: \['b'\]"):
        keras_trt.mlflow._BundleModel(keras_trt.load(bundle, verbose=0)).predict({"a": x["a"]})


def test_the_copy_is_the_bundle_and_no_pickle(tmp_path):
    bundle = save_bundle(tmp_path / "b", conv_model())
    mlflow.pyfunc.save_model(tmp_path / "m", **keras_trt.mlflow.pyfunc(bundle))
    copies = {path.name: path.read_bytes() for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert not [name for name in copies if name.endswith(".pkl")]
    for path in bundle.iterdir():
        assert path.is_dir() or copies[path.name] == path.read_bytes()


def test_what_is_no_bundle_is_not_logged(tmp_path):
    with pytest.raises(BundleError, match="No bundle at"):
        keras_trt.mlflow.pyfunc(tmp_path / "absent")
