"""Scans and choices among branches leave as loops and branches of ONNX, with Keras's numbers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.backend import core

import keras_trt
from keras_trt._keras.flavor_of import flavor_of
from keras_trt._machine.deps import available
from keras_trt.trace.layers.control_flow import loops_and_branches
from tests.onnx_tools import floats


def running_sum(total, x):
    return total + x, total * x


def by_steps(x):
    return ops.moveaxis(x, 1, 0)


def pair(state, x):
    total, largest = state["total"], state["largest"]
    new = {"total": ops.tanh(total + x["a"]), "largest": ops.maximum(largest, x["b"])}
    return new, new


SCANS = {
    "forwards": lambda x: ops.scan(running_sum, ops.zeros_like(x[:, 0]), by_steps(x)),
    "backwards": lambda x: ops.scan(running_sum, ops.zeros_like(x[:, 0]), by_steps(x), reverse=True),
    "no rows": lambda x: ops.scan(lambda y, _: (y * 0.5 + 1, y), x[:, 0], length=3),
    "no results": lambda x: ops.scan(lambda total, y: (total + y, None), x[:, 0], by_steps(x)),
    "several": lambda x: ops.scan(
        pair, {"total": x[:, 0], "largest": x[:, 1]}, {"a": by_steps(x), "b": by_steps(-x)}
    ),
}


def scanned(name):
    """A model of the results, batch first."""

    class Scan(keras.layers.Layer):
        def call(self, x):
            state, rows = SCANS[name](x)
            return [*keras.tree.flatten(state), *(ops.moveaxis(y, 0, 1) for y in keras.tree.flatten(rows))]

    x = keras.Input((4, 3), name="x")
    return keras.Model(x, Scan()(x))


def chooser():
    x, index = keras.Input((3,), name="x"), keras.Input((), dtype="int32", name="index")

    class Choose(keras.layers.Layer):
        def call(self, x, index):
            return ops.switch(ops.max(index), [ops.abs, lambda y: y * 2, ops.square, lambda y: y - 1], x)

    return keras.Model({"x": x, "index": index}, Choose()(x, index))


def exported(model, path):
    keras_trt.export(model, path, engine=None, verbose=0)
    return [keras_trt.load(path, runner=name, verbose=0) for name in ("onnxruntime", "openvino")]


@pytest.mark.parametrize("name", SCANS)
def test_a_scan_is_a_loop(name, tmp_path):
    model, x = scanned(name), floats(5, 4, 3)
    expected = model.predict(x, verbose=0)
    for engine in exported(model, tmp_path / "net"):
        for got, wanted in zip(engine.predict(x), expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_a_switch_takes_the_branch_of_its_index_and_an_end_for_one_outside(tmp_path):
    model = chooser()
    for engine in exported(model, tmp_path / "net"):
        for index in (-2, 0, 1, 2, 3, 9):
            data = {"x": floats(2, 3), "index": np.full((2,), index, np.int32)}
            np.testing.assert_allclose(engine.predict(data), model.predict(data, verbose=0), atol=1e-6)


@pytest.mark.skipif(not available("tensorrt_rtx"), reason="needs tensorrt_rtx")
@pytest.mark.parametrize("make", [lambda: scanned("backwards"), chooser], ids=["scan", "switch"])
def test_tensorrt_builds_them(make, tmp_path):
    keras_trt.export(make(), tmp_path / "net", engine=None, verbose=0)
    config = keras_trt.EngineConfig(compute_capabilities=["SM89"])
    assert keras_trt.build(tmp_path / "net", "tensorrt_rtx", config=config, verbose=0).plans


def test_keras_has_its_own_back_after_an_export():
    before = core.scan, core.switch
    with pytest.raises(KeyError), loops_and_branches(flavor_of(chooser())):
        assert core.scan is not before[0]
        raise KeyError
    assert (core.scan, core.switch) == before
