"""Export from JAX and PyTorch: in a process on TensorFlow, compared with the model on its own backend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_trt
from keras_trt.errors import BundleExistsError, ExportError, InputError, ModelError
from tests.backends.conftest import BACKEND

# OpenVINO's telemetry forks the process when it is first imported, of which JAX warns.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path_factory, monkeypatch):
    """A folder of a test's own, in which nothing else comes and goes."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.startswith(".")] + [
        p.name for p in Path(tempfile.gettempdir()).glob("keras_trt_*")
    ]


def test_int8_from_float_weights(net, rows, tmp_path, capfd):
    model = net()
    model.fit(*rows, epochs=2, verbose=0)
    report = keras_trt.export(
        model, tmp_path / "net.bundle", precision="int8", calibration_data=rows[0][:64], engine=None
    )
    assert report.path == tmp_path / "net.bundle"
    assert report.int8_mac_share == 1.0
    assert report.verified_with
    assert "exported in a process of TensorFlow's" in capfd.readouterr().out
    with keras_trt.load(tmp_path / "net.bundle", verbose=0) as engine:
        off = np.abs(engine.predict(rows[0]) - model.predict(rows[0], verbose=0)).max()
    assert off < 0.1
    assert leftovers(tmp_path) == []


def test_a_quantised_model_with_a_plan_and_a_generator(net, rows, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    model = keras_trt.quantize_model(net(), calibration_data=rows[0][:64], verbose=0)
    batches = (rows[0][i : i + 16] for i in (0, 16))
    report = keras_trt.export(
        model, tmp_path / "net.bundle", calibration_data=batches, compute_capabilities=["SM89"], verbose=0
    )
    assert report.plans


def test_errors_come_back_as_they_are(net, rows, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with pytest.raises(BundleExistsError, match="there"):
        keras_trt.export(net(), tmp_path / "there", verbose=0)
    with pytest.raises(ModelError, match="precision='int8' needs a quantised model or data"):
        keras_trt.export(net(), tmp_path / "b", precision="int8", verbose=0)
    with pytest.raises(InputError, match="unknown inputs"):
        keras_trt.export(net(), tmp_path / "b", input_shapes={"x": (1, 8, 8, 3)}, engine=None, verbose=0)
    assert not (tmp_path / "b").exists()
    assert leftovers(tmp_path) == []


def test_arguments_that_cannot_travel_are_refused(net, rows, tmp_path):
    with pytest.raises(InputError, match="go to another process"):
        keras_trt.export(
            net(), tmp_path / "b", data=rows, max_drop=0.1, metric=lambda y, z: 0.0, engine=None, verbose=0
        )


def test_a_layer_that_computes_otherwise_on_its_backend_is_told(tmp_path):
    code = (
        "import keras, keras_trt, sys\n"
        "class Odd(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x * (2.0 if keras.backend.backend() == 'tensorflow' else 3.0)\n"
        "i = keras.Input((4,)); model = keras.Model(i, Odd(name='odd')(keras.layers.Dense(4)(i)))\n"
        "try: keras_trt.export(model, sys.argv[1], engine=None, verbose=0)\n"
        "except keras_trt.errors.ExportError as e: print('TOLD', e)\n"
    )
    pytest.importorskip("cloudpickle")
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=True
    )
    assert (
        f"TOLD The engine agrees with Keras on TensorFlow and not with the model on {BACKEND}" in run.stdout
    )
    assert not (tmp_path / "b").exists()


@pytest.mark.filterwarnings("ignore:The object being serialized includes a .lambda:UserWarning")
def test_functions_that_layers_have_travel_with_the_model(rows, tmp_path):
    pytest.importorskip("cloudpickle")
    two = 2.0

    def doubled(x):
        return keras.ops.relu(x) * two

    layers = [
        keras.layers.Conv2D(4, 3, activation=lambda x: keras.ops.abs(x) / two),
        keras.layers.Lambda(lambda x: x * 3.0),
        keras.layers.Flatten(),
        keras.layers.Dense(4, activation=doubled),
        keras.layers.Dense(2, activation=keras.ops.sin),
    ]
    model = keras.Sequential([keras.Input(rows[0].shape[1:]), *layers])
    keras_trt.export(model, tmp_path / "b", engine=None, verbose=0)
    with keras_trt.load(tmp_path / "b", verbose=0) as engine:
        predicted = engine.predict(rows[0])
    np.testing.assert_allclose(predicted, model.predict(rows[0], verbose=0), atol=1e-4)


def test_classes_of_a_module_are_imported_there(tmp_path, monkeypatch):
    here = tmp_path / "of mine"  # a working folder of another program's, which this one does not read
    here.mkdir()
    (here / "random.py").write_text("raise RuntimeError('not the library')\n")
    monkeypatch.chdir(here)
    (tmp_path / "my_layers.py").write_text(
        "import keras\n\n\nclass Twice(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_layers

    inputs = keras.Input((4,))
    model = keras.Model(inputs, my_layers.Twice(name="twice")(keras.layers.Dense(4)(inputs)))
    keras_trt.export(model, "b", engine=None, verbose=0)
    x = np.ones((2, 4), "float32")
    with keras_trt.load(here / "b", verbose=0) as engine:
        np.testing.assert_allclose(engine.predict(x), model.predict(x, verbose=0), rtol=1e-4)


def test_a_layer_that_calls_the_backend_directly_is_named(tmp_path, monkeypatch):
    body = "jax.numpy.tanh(x)" if BACKEND == "jax" else "torch.tanh(x)"
    (tmp_path / "direct.py").write_text(
        f"import keras\nimport {BACKEND}\n\n\nclass Direct(keras.layers.Layer):\n"
        f"    def call(self, x):\n        return {body}\n\n"
        "    def compute_output_shape(self, shape):\n        return shape\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import direct

    inputs = keras.Input((4,))
    model = keras.Model(inputs, direct.Direct(name="my_tanh")(keras.layers.Dense(4)(inputs)))
    with pytest.raises((ExportError, ModelError), match="my_tanh"):
        keras_trt.export(model, tmp_path / "b", engine=None, verbose=0)
    assert not (tmp_path / "b").exists()


def test_ctrl_c_ends_both_and_leaves_nothing(tmp_path):
    code = (
        "import keras, keras_trt, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background ignores it
        "i = keras.Input((64, 64, 3)); x = i\n"
        "for _ in range(20): x = keras.layers.Conv2D(16, 3, padding='same')(x)\n"
        "print('begin', flush=True)\n"
        "keras_trt.export(keras.Model(i, x), sys.argv[1], engine=None)\n"
    )
    folder = tmp_path / "tmp"
    folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "b")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    with process.stdout as lines:
        next(line for line in lines if "process of TensorFlow" in line)
        time.sleep(3.0)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert process.returncode != 0
    assert not (tmp_path / "b").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["tmp"]
    assert not list(folder.glob("keras_trt_*"))


def test_callbacks_export_and_evaluate(net, rows, tmp_path):
    model = net()
    engine = keras_trt.callbacks.EvaluateEngine(rows)
    best = keras_trt.callbacks.ExportBest(
        tmp_path / "{batch}.bundle", monitor="loss", save_freq=6, engine=None, verify=False
    )
    before = keras.callbacks.ModelCheckpoint(tmp_path / "{batch}.keras", save_freq=6)
    history = model.fit(*rows, epochs=1, verbose=0, validation_data=rows, callbacks=[engine, best, before])
    assert history.history["val_engine_failed"] == history.history["export_failed"] == [0.0]
    assert history.history["val_engine_loss"] == pytest.approx(history.history["val_loss"], rel=1e-4)
    halfway = keras.models.load_model(tmp_path / "6.keras")
    with keras_trt.load(tmp_path / "6.bundle", verbose=0) as exported:
        np.testing.assert_allclose(
            exported.predict(rows[0]), halfway.predict(rows[0], verbose=0), rtol=1e-3, atol=1e-5
        )
    assert halfway.optimizer.iterations < model.optimizer.iterations
