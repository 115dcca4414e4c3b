"""The same numbers on every backend: what is rounded, what is masked, what a file holds."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

import keras_trt
from tests.backends.conftest import BACKEND, values

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


def test_gradients_pass_inside_the_range_and_a_learned_one_gets_its_own():
    x = np.array([-3.0, -2.0, -0.4, 0.0, 0.3, 1.9, 2.0, 2.1, np.nan], "float32")
    upstream = np.arange(1, 10, dtype="float32")
    inside = np.abs(x) <= 2
    with np.errstate(invalid="ignore"):
        steps = np.clip(np.round(x * np.float32(127 / 2)), -128, 127)
    values, by_range = _gradients(x, 2.0, upstream, learned=False)
    np.testing.assert_array_equal(values, np.where(inside, upstream, 0))
    assert by_range == 0
    x, upstream, steps, inside = x[:-1], upstream[:-1], steps[:-1], inside[:-1]
    values, by_range = _gradients(x, 2.0, upstream, learned=True)
    np.testing.assert_array_equal(values, np.where(inside, upstream, 0))
    slope = np.where(inside, steps / 127 - x / 2, np.sign(x)) / np.sqrt(8 * 127)  # LSQ, its step size's scale
    np.testing.assert_allclose(by_range, (upstream * slope).sum(), rtol=1e-4)


def _gradients(x, amax, upstream, learned):
    """What a rounding's values and its range get of an upstream gradient."""
    from keras_trt._keras.backends import keras_ops as ops
    from keras_trt.twins.fake_quant import fake_quantize

    def total(x, amax):
        return ops.sum(fake_quantize(ops, x, amax, "int8", learned) * ops.constant(upstream))

    values, amax = ops.constant(x), ops.constant(amax, "float32")
    if BACKEND == "jax":
        import jax

        return [np.asarray(g) for g in jax.grad(total, argnums=(0, 1))(values, amax)]
    values, amax = values.detach().requires_grad_(True), amax.detach().requires_grad_(True)
    total(values, amax).backward()
    return values.grad.numpy(), 0.0 if amax.grad is None else amax.grad.numpy()


def _assert_alike(here, there):
    """Equal to 1e-5, but for ties of rounding, of which there are few."""
    off = np.abs(here - there) > 1e-5 * np.abs(there)
    assert off.mean() < 1e-4
