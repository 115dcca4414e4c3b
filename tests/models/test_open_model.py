"""Every kind of file that Keras writes, and what is refused of each."""

import json

import h5py
import numpy as np
import pytest

import keras_trt
from keras_trt.errors import InputError, ModelError
from keras_trt.models.open_model import open_model
from tests.nets import dense_net


@pytest.fixture
def model(k):
    return dense_net(k, 6, 8, 3)


def same(model, other, rng):
    x = rng.normal(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(model(x), other(x), rtol=1e-5, atol=1e-6)
    assert type(other).__module__.split(".")[0] == type(model).__module__.split(".")[0]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
def test_a_file_is_opened_by_the_keras_that_wrote_it(model, rng, tmp_path, suffix):
    model.save(tmp_path / f"net{suffix}")
    same(model, open_model(tmp_path / f"net{suffix}"), rng)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_quantised_model_comes_back_quantised_from_hdf5(model, rng, tmp_path):
    x = rng.normal(size=(64, 6)).astype("float32")
    quantized = keras_trt.quantize_model(model, calibration_data=x, min_sqnr=None, verbose=0)
    quantized.save(tmp_path / "net.h5")
    opened = open_model(tmp_path / "net.h5")
    same(quantized, opened, rng)
    assert keras_trt.report(opened).rows == keras_trt.report(quantized).rows


def test_a_saved_model_is_opened_where_it_is_trusted(rng, tmp_path):
    import tf_keras

    model = dense_net(tf_keras, 6, 8, 3)
    model.save(tmp_path / "net", save_format="tf")
    with pytest.raises(ModelError, match="is a SavedModel, a program of TensorFlow's.*safe_mode=False"):
        open_model(tmp_path / "net")
    same(model, open_model(tmp_path / "net", safe_mode=False), rng)
    (tmp_path / "net" / "keras_metadata.pb").unlink()
    with pytest.raises(InputError, match=r"without its Keras model.*model.save\('model.keras'\)"):
        open_model(tmp_path / "net", safe_mode=False)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_code_in_hdf5_runs_only_where_it_is_trusted(k, rng, tmp_path):
    model = k.Sequential([k.Input((6,)), k.layers.Lambda(lambda x: 2 * x)])
    model.save(tmp_path / "net.h5")
    with pytest.raises(ModelError, match="carries code in a Lambda layer.*safe_mode=False"):
        open_model(tmp_path / "net.h5")
    same(model, open_model(tmp_path / "net.h5", safe_mode=False), rng)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_hdf5_imports_nothing_that_it_names(model, tmp_path):
    model.save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "a") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][1] |= {
            "module": "antigravity",
            "class_name": "Evil",
            "registered_name": "Evil",
        }
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=r"class `antigravity.Evil`, which is not known here"):
        open_model(tmp_path / "net.h5")


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_custom_objects_are_taken(k, rng, tmp_path):
    class Twice(k.layers.Layer):
        def call(self, x):
            return 2 * x

    model = k.Sequential([k.Input((6,)), Twice()])
    model.save(tmp_path / "net.h5")
    same(model, open_model(tmp_path / "net.h5", custom_objects={"Twice": Twice}), rng)


def test_what_is_no_model_is_named(model, tmp_path):
    with pytest.raises(InputError, match=r"There is no model at '.*absent\.keras'"):
        open_model(tmp_path / "absent.keras")
    with pytest.raises(InputError, match="is a folder without a Keras model"):
        open_model(tmp_path)
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"No readable HDF5 file at '.*broken\.h5'"):
        open_model(tmp_path / "broken.h5")
    model.save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(InputError, match="holds weights without a model"):
        open_model(tmp_path / "net.weights.h5")
    (tmp_path / "model.onnx").write_bytes(b"1")
    with pytest.raises(InputError, match=r"A model is a `\.keras` or `\.h5` file, or the folder"):
        open_model(tmp_path / "model.onnx")
