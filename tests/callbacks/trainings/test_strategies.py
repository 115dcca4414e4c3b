"""Masks and ranges agree on every replica of a strategy and on every worker, and bundles leave there."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

TRAIN = """
import importlib, json, sys, tempfile
import numpy as np, tensorflow as tf
k, road = importlib.import_module(sys.argv[1]), sys.argv[2]
if road == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
else:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
from keras_trt._keras.flavor_of import flavor_of
from keras_trt import prune_model, quantize_model
from keras_trt.callbacks import EvaluateEngine, ExportBest, Prune, Quantize
from keras_trt.quantize.inventory import activation_quantizers
def net():
    k.utils.set_random_seed(0)
    with strategy.scope():
        layers = [k.Input((8,)), k.layers.Dense(16, activation="relu", name="a"), k.layers.Dense(4, name="b")]
        model = k.Sequential(layers)
        model.compile(k.optimizers.Adam(1e-2), "mse", jit_compile=False)
    return model
x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32") * np.linspace(1, 3, 64)[:, None]
data = tf.data.Dataset.from_tensor_slices((x.astype("float32"), x[:, :4])).batch(16)
try:
    net().fit(data, verbose=0)
except Exception as error:
    print("FOUND", json.dumps({"plain": str(error)[:200]}))
    raise SystemExit
def copies(variable):
    raw = flavor.raw(variable)
    return [part.numpy() for part in getattr(raw, "values", (raw,))]
def state(model, history):
    return {
        "replicas": strategy.num_replicas_in_sync,
        "kernels": [part.tolist() for part in copies(model.get_layer("a").kernel)],
        "ranges": [[float(part) for part in copies(q.amax)] for _, q in activation_quantizers(flavor, model)],
        "history": history.history,
    }
model = net()
flavor = flavor_of(model)
path = tempfile.mkdtemp() + "/best"
ours = [Quantize(start_epoch=1), Prune(0.5, end_step=6, frequency=2)]
ours += [EvaluateEngine(data), ExportBest(path, "val_engine_loss", engine=None)]
history = model.fit(data, epochs=3, verbose=0, validation_data=data, callbacks=ours)
found = {"callbacks": state(model, history)}
pruned = prune_model(net(), 0.5)
with strategy.scope():
    inside = quantize_model(prune_model(net(), 0.5), verbose=0)
for how, model in {"inside": inside, "outside": quantize_model(pruned, verbose=0)}.items():
    with strategy.scope():
        model.compile(k.optimizers.Adam(1e-2), "mse", jit_compile=False)
    found[how] = state(model, model.fit(data, epochs=2, verbose=0))
print("FOUND", json.dumps(found))
"""


def started(k, road, **environment):
    command = [sys.executable, "-W", "ignore", "-c", TRAIN, k.__name__, road]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def found(process):
    with process:
        try:
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    lines = [line for line in out.splitlines() if line.startswith("FOUND")]
    assert lines, err[-3000:]
    return json.loads(lines[0].removeprefix("FOUND"))


def skip_without_keras(one):
    if "plain" in one:
        pytest.skip(f"this Keras does not train a plain model so: {one['plain']}")


def check(*workers):
    for how in ("callbacks", "inside", "outside"):
        check_state(*(worker[how] for worker in workers))
    for worker in workers:
        history = worker["callbacks"]["history"]
        np.testing.assert_allclose(history["val_engine_loss"], history["val_loss"], rtol=1e-4)
        assert history["export_failed"] == history["val_engine_failed"] == [0.0, 0.0, 0.0]
        assert worker["inside"] == worker["outside"]


def check_state(*all_found):
    kernels = [np.array(kernel) for one in all_found for kernel in one["kernels"]]
    assert np.mean(kernels[0] == 0) == 0.5
    for kernel in kernels[1:]:
        np.testing.assert_array_equal(kernel, kernels[0])
    for ranges in zip(*(one["ranges"] for one in all_found), strict=True):
        every = {amax for copies in ranges for amax in copies}
        assert len(every) == 1
        assert every.pop() > 0


@pytest.mark.slow
def test_two_replicas_agree(k):
    one = found(started(k, "mirrored"))
    skip_without_keras(one)
    assert one["outside"]["replicas"] == len(one["outside"]["kernels"]) == 2
    check(one)


@pytest.mark.slow
def test_two_workers_agree(k):
    with socket.create_server(("localhost", 0)) as a, socket.create_server(("localhost", 0)) as b:
        workers = [f"localhost:{server.getsockname()[1]}" for server in (a, b)]
    cluster = {"worker": workers}
    processes = [
        started(
            k, "workers", TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        )
        for i in range(2)
    ]
    both = [found(process) for process in processes]
    skip_without_keras(both[0])
    assert [one["callbacks"]["replicas"] for one in both] == [2, 2]
    check(*both)
