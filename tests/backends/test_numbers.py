"""The same numbers on every backend: what is rounded, what is masked, what a file holds."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

import keras_trt
from tests.backends.conftest import values

ON_TENSORFLOW = """
import sys, numpy as np, keras, keras_trt
model = keras_trt.load_model(sys.argv[1])
x = np.load(sys.argv[2])["x"]
weights = {f"w{i}": w for i, w in enumerate(model.get_weights())}
np.savez(sys.argv[3], y=model.predict(x, verbose=0), **weights)
print(keras_trt.plan(keras_trt.strip(model), check_import=False))
"""


def test_a_file_of_this_backend_gives_the_same_on_tensorflow(net, rows, tmp_path):
    model = net()
    model.fit(*rows, epochs=1, verbose=0)
    model = keras_trt.quantize_model(
        keras_trt.prune_model(model, 0.5), calibration_data=rows[0][:64], verbose=0
    )
    keras_trt.save_model(model, tmp_path / "net.keras")
    np.savez(tmp_path / "x.npz", x=rows[0])
    command = [
        sys.executable,
        "-c",
        ON_TENSORFLOW,
        *(str(tmp_path / n) for n in ("net.keras", "x.npz", "y.npz")),
    ]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    there = np.load(tmp_path / "y.npz")
    for i, weight in enumerate(model.weights):
        np.testing.assert_array_equal(there[f"w{i}"], values(weight))
    here = model.predict(rows[0], verbose=0)
    ties = np.abs(here - there["y"]).max(axis=-1) > 1e-5  # a row in which some value fell to the other side
    assert ties.mean() < 0.05
    assert str(keras_trt.plan(keras_trt.strip(model), check_import=False)) in run.stdout


def test_activations_round_as_tensorflow_does(tmp_path):
    from keras_trt._keras.backends import keras_ops
    from keras_trt.twins.fake_quant import quantize_dequantize, quantize_weights

    x = np.random.default_rng(0).normal(0, 3, 100_000).astype("float32")
    code = (
        "import sys, numpy as np\n"
        "from keras_trt._keras.backends import tensorflow_ops as ops\n"
        "from keras_trt.twins.fake_quant import quantize_dequantize, quantize_weights\n"
        "x = np.load(sys.argv[1]); amax = ops.constant(5.3, 'float32')\n"
        "made = {d: quantize_dequantize(ops, ops.constant(x), amax, d).numpy() for d in ('int8', 'fp8')}\n"
        "w = ops.constant(x.reshape(1000, 100))\n"
        "made |= {f'w{d}': quantize_weights(ops, w, (1,), d, b).numpy()\n"
        "         for d, b in (('int8', None), ('fp8', None), ('int4', 100))}\n"
        "np.savez(sys.argv[2], **made)\n"
    )
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", code, str(tmp_path / "x.npy"), str(tmp_path / "y.npz")]
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "tensorflow"}, check=True)
    there = np.load(tmp_path / "y.npz")
    ops, amax = keras_ops, keras_ops.constant(5.3, "float32")
    for dtype in ("int8", "fp8"):
        here = ops.to_numpy(quantize_dequantize(ops, ops.constant(x), amax, dtype))
        _assert_alike(here, there[dtype])
    w = ops.constant(x.reshape(1000, 100))
    for dtype, block in (("int8", None), ("fp8", None), ("int4", 100)):
        here = ops.to_numpy(quantize_weights(ops, w, (1,), dtype, block))
        _assert_alike(here, there[f"w{dtype}"])


def _assert_alike(here, there):
    """Equal to 1e-5, but for ties of rounding, of which there are few."""
    off = np.abs(here - there) > 1e-5 * np.abs(there)
    assert off.mean() < 1e-4
