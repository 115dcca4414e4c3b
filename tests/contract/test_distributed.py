"""Quantised training under `tf.distribute.MirroredStrategy`, on two logical CPU devices."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import importlib, sys, tempfile
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
k = importlib.import_module(sys.argv[1])
from keras_trt import export, prune_model
from keras_trt.callbacks.quantize import Quantize
from keras_trt.quantize import quantize_model
from keras_trt.quantize.inventory import activation_quantizers, inventory
from keras_trt._keras.flavor_of import flavor_of
from tests.nets import images

folder = tempfile.mkdtemp() + "/b"
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
x, y = images(64)
x[1::2] *= 3.0  # the replicas see different ranges

def net():
    return k.Sequential([
        k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, activation="relu", name="c"),
        k.layers.GlobalAveragePooling2D(name="g"), k.layers.Dense(4, activation="softmax", name="d"),
    ])

for how in ("callback", "quantize_model", "outside"):
    with strategy.scope():
        model = quantize_model(net()) if how == "quantize_model" else net()
    if how == "outside":  # the copy lives where the model does
        model = quantize_model(prune_model(model, 0.5))
    with strategy.scope():
        model.compile("sgd", "sparse_categorical_crossentropy")
    callbacks = [Quantize()] if how == "callback" else []
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
    assert np.isfinite(history.history["loss"]).all()
    ranges = {t.layer: t.amax for t in inventory(model) if t.kind == "activation"}
    assert set(ranges) == {"c", "g", "d"}, ranges
    for _, q in activation_quantizers(flavor_of(model), model):
        raw = flavor_of(model).raw(q.amax)
        copies = [float(v.numpy()) for v in raw.values]
        assert len(copies) == 2, copies
        assert copies[0] == copies[1] > 0, (q.name, copies)
    assert 1.5 < ranges["c"] <= 3.0, ranges
    with strategy.scope():  # as `fit` of tf_keras calls its callbacks
        export(model, folder, engine=None, verbose=0, overwrite=True)
    print("ok", how, ranges)
kernel = flavor_of(model).raw(model.get_layer("c").kernel)
assert [float(np.mean(v.numpy() == 0)) for v in kernel.values] == [0.5, 0.5]
"""


def test_ranges_agree_across_replicas(k):
    """One process a Keras: starting it and tracing are most of the time."""
    command = [sys.executable, "-c", SCRIPT, k.__name__]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert [line.split(" {")[0] for line in run.stdout.splitlines()] == [
        "ok callback",
        "ok quantize_model",
        "ok outside",
    ]
